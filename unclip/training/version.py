"""Which code a run is trained by."""

import subprocess
from functools import cache
from pathlib import Path

import torch

from unclip.checkpoint import unclip_version


def code_version() -> dict[str, str | None]:
    """The versions of unclip and torch, and the git commit where the code is in a repository."""
    return {"unclip": unclip_version(), "torch": torch.__version__, "commit": _commit()}


@cache
def _commit() -> str | None:
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(here), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # no git, or not its repository: the version has to do
