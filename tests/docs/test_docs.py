"""Every code block of README and docs/ is tagged, and those that say `run` or `slow` are run.

A fence's words after the language are its tag: `run`, `slow`, or `not-run: REASON`. The blocks of a
page run in order in one folder, with the installed commands on the path.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)[ ]*([^\n]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"sh", "python", "yaml", "json", "text"}


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    tag: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0 or text.startswith("```"), f"{page.name}: an open fence"
    return [
        Block(match[1], match[2].strip(), match[3], text[: match.start()].count("\n") + 1)
        for match in FENCE.finditer(text)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_tagged(page: Path) -> None:
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: name the language"
        if block.tag.startswith("not-run"):
            assert re.fullmatch(r"not-run: \S.{5,}", block.tag), f"{where}: give a reason"
        else:
            assert block.tag in ("run", "slow"), f"{where}: tag it run, slow or not-run: REASON"
            assert block.language in ("sh", "python"), f"{where}: only sh and python can run"


def run_page(page: Path, tags: tuple[str, ...], folder: Path) -> None:
    chosen = [block for block in blocks(page) if block.tag in tags]
    if not chosen:
        pytest.skip(f"{page.name} has no block tagged {' or '.join(tags)}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "UNCLIP_ROOT": str(ROOT)}
    for name in ("configs", "docs"):
        (folder / name).symlink_to(ROOT / name)
    for block in chosen:
        command = ["bash", "-euo", "pipefail", "-c", block.code]
        if block.language == "python":
            command = [sys.executable, "-c", block.code]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, (
            f"{page.name}:{block.line} failed\n{block.code}\n{done.stdout}{done.stderr}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_run_blocks(page: Path, tmp_path: Path) -> None:
    run_page(page, ("run",), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_slow_blocks(page: Path, tmp_path: Path) -> None:
    """With the quick blocks of the page before them, which they may build on."""
    if not any(block.tag == "slow" for block in blocks(page)):
        pytest.skip(f"{page.name} has no block tagged slow")
    run_page(page, ("run", "slow"), tmp_path)
