"""Packs a kit: the code, the built set, wheels, carried runs and the judge, in at most 60 MiB."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from unclip.checkpoint import load_stage
from unclip.data.drawings import travel
from unclip.errors import ConfigError, InputError
from unclip.training import carry
from unclip.training.kit.logs import pack_logs
from unclip.training.kit.wheels import download
from unclip.training.version import code_version

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = "UNCLIP_KIT_CONFIGS"
"""Environment variable: the folder of the stages' configurations, instead of configs/pocket."""
TAKEN = ("LICENSE", "THIRD_PARTY.md", "pyproject.toml")
TREES = ("unclip", "prior", "decoder", "upsamplers", "configs")
LEFT = ("unclip/pocket/",)
"""The bundled weights."""
FREIGHT = "freight"
ABOUT = f"{FREIGHT}/about.json"
SET = f"{FREIGHT}/set.tar.xz"
WHEELS = f"{FREIGHT}/wheels"
RUNS = f"{FREIGHT}/runs"
JUDGE = f"{FREIGHT}/judge"
MAX_BYTES = 60 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a kit is to hold."""

    drawings: Path
    """A built set, or the archive of one."""
    runs: Sequence[Path] = ()
    judge: Path | None = None
    python: str | None = "3.12"
    """Wheels are for it; None packs none."""


def pack(order: Order, out: Path) -> list[str]:
    """Writes a kit; returns what weighs what.

    Raises:
        ConfigError: it would be more than 60 MiB, or the configurations name no set.
        InputError: `out` holds something.
        CheckpointError: a run has no whole checkpoint, or the judge is damaged.
        DataError: the set is not finished.
        BackendError: there are no wheels for this Python.
    """
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: choose another folder")
    making = out.with_name(f"{out.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    (making / FREIGHT).mkdir(parents=True)
    try:
        _copy_code(making)
        _load(order, making)
        listed = _weigh(making)
        if out.is_dir():
            out.rmdir()
        os.rename(making, out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return listed


def _copy_code(kit: Path) -> None:
    """Copies what git tracks and training needs, and the folder of configurations."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *TAKEN, *TREES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        raise ConfigError(f"{ROOT} is no clone of the repository: a kit is packed in one")
    for name in filter(None, done.stdout.split("\0")):
        if not name.startswith(LEFT) and (ROOT / name).is_file():
            (kit / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, kit / name)
    configs = Path(os.environ.get(CONFIGS) or ROOT / "configs" / "pocket")
    shutil.copytree(configs, kit / "configs" / configs.name, dirs_exist_ok=True)
    about = {"configs": f"configs/{configs.name}", "set": _set_of(configs), **code_version()}
    (kit / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _set_of(configs: Path) -> str:
    """Returns the one folder that all configurations have their drawings in."""
    found = set()
    for path in sorted(configs.glob("*.yaml")):
        images = yaml.safe_load(path.read_text(encoding="utf-8")).get("images")
        found.add(images["set"] if isinstance(images, dict) else images)
    folder = f"runs/{configs.name}/set"
    if found != {folder}:
        raise ConfigError(
            f"the configurations in {configs} take their pictures from {sorted(map(str, found))}, "
            f"a kit has them in runs/{configs.name}/set: name it as images.set"
        )
    return folder


def _load(order: Order, kit: Path) -> None:
    if order.drawings.is_file():
        shutil.copyfile(order.drawings, kit / SET)
    else:
        travel.pack(order.drawings, kit / SET)
    if order.python is not None:
        download(kit / WHEELS, order.python)
    if order.runs:
        carry.pack(order.runs, kit / RUNS)
        pack_logs(order.runs, ("log.jsonl",), kit / RUNS)
    if order.judge is not None:
        load_stage(order.judge, "clip")
        shutil.copytree(order.judge, kit / JUDGE)


def _weigh(kit: Path) -> list[str]:
    """Lists the parts by weight, the whole last.

    Raises:
        ConfigError: the whole is more than 60 MiB.
    """
    sizes = {"code": 0}
    for path in kit.rglob("*"):
        if path.is_file():
            parts = path.relative_to(kit).parts
            name = parts[1] if parts[0] == FREIGHT else "code"
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    total = sum(sizes.values())
    listed = sorted(sizes.items(), key=lambda each: -each[1])
    lines = [f"{name} {size / 2**20:.1f} MiB" for name, size in listed]
    if total > MAX_BYTES:
        raise ConfigError(
            f"the kit would be {total / 2**20:.1f} MiB, at most {MAX_BYTES // 2**20}: "
            f"{', '.join(lines)}; leave something out"
        )
    return [*lines, f"all {total / 2**20:.1f} MiB"]
