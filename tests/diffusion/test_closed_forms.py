"""The real modules against closed forms."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

spec = importlib.util.spec_from_file_location(
    "closed_forms", Path(__file__).with_name("closed_forms.py")
)
assert spec is not None
assert spec.loader is not None
closed_forms = importlib.util.module_from_spec(spec)
spec.loader.exec_module(closed_forms)


@pytest.mark.parametrize("check", closed_forms.CHECKS, ids=lambda check: check.__name__)
def test_closed_form(check: Callable, modules: Callable[..., SimpleNamespace]) -> None:
    check(modules({}))
