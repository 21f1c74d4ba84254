"""The wheels that a machine with torch, transformers and accelerate lacks for training."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from unclip.errors import BackendError

NEEDED = (
    "einops",
    "ftfy",
    "jaxtyping",
    "open_clip_torch",
    "pillow",
    "resvg-py",
    "timm",
    "wadler_lindig",
    "wcwidth",
)
"""Direct ones, and what these need. Torchvision, which open_clip needs, is built for one torch: it
stands beside it there."""
GLIBC = ("2_34", "2_31", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")


def download(folder: Path, python: str) -> None:
    """Downloads the wheels for a Python on Linux x86-64, in the versions that are installed here.

    Raises:
        BackendError: one is not installed here, or there is no such wheel.
    """
    try:
        pinned = [f"{name}=={version(name)}" for name in NEEDED]
    except PackageNotFoundError as error:
        raise BackendError(f"{error.name} is not installed: pip install '.[data]' first") from error
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for glibc in GLIBC:
        command += ["--platform", f"manylinux_{glibc}_x86_64"]
    command += ["--platform", "manylinux2014_x86_64", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--dest", str(folder), *pinned], capture_output=True, text=True, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = errors[-1] if errors else "pip failed"
        raise BackendError(f"no wheels for Python {python}: {why}")
