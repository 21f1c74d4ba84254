"""Which code a run is trained by."""

import subprocess
from pathlib import Path

import torch

from unclip.checkpoint import unclip_version


def code_version() -> dict[str, str | None]:
    """The versions of unclip and torch, and the git commit where the code is in a repository."""
    here = Path(__file__).resolve().parents[2]
    commit = None
    if (here / ".git").exists():
        command = ["git", "-C", str(here), "rev-parse", "HEAD"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            commit = done.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass  # no git, or not its repository: the version has to do
    return {"unclip": unclip_version(), "torch": torch.__version__, "commit": commit}
