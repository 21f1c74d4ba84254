"""Loads the diffusion modules afresh, from their source or from a mutated copy, under names of
their own."""

import importlib.util
import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import unclip.diffusion

SOURCES = Path(unclip.diffusion.__path__[0])
MODULES = (
    "schedules", "gaussian", "denoiser", "noise", "guidance", "samplers", "inversion", "losses"
)  # fmt: skip
_numbers = itertools.count()


def load_modules(changed: Mapping[str, str]) -> SimpleNamespace:
    """Executes the modules, those in `changed` from the text given, and joins their names."""
    package = f"mutant_{next(_numbers)}"
    root = ModuleType(package)
    root.__path__ = []
    sys.modules[package] = root
    names = SimpleNamespace()
    try:
        for name in MODULES:
            text = changed.get(name) or (SOURCES / f"{name}.py").read_text(encoding="utf-8")
            text = text.replace("unclip.diffusion.", f"{package}.")
            spec = importlib.util.spec_from_loader(f"{package}.{name}", loader=None)
            assert spec is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[f"{package}.{name}"] = module
            exec(compile(text, f"{package}/{name}.py", "exec"), module.__dict__)
            vars(names).update({k: v for k, v in vars(module).items() if not k.startswith("__")})
    finally:
        for name in [*MODULES, ""]:
            sys.modules.pop(f"{package}.{name}".rstrip("."), None)
    return names


@pytest.fixture(scope="session")
def modules() -> Callable[[Mapping[str, str]], SimpleNamespace]:
    return load_modules


@pytest.fixture(scope="session")
def source() -> Callable[[str], str]:
    return lambda name: (SOURCES / f"{name}.py").read_text(encoding="utf-8")
