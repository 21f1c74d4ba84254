"""What an ordinary install holds: built as a wheel, unpacked elsewhere, run from there."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tracked = subprocess.run(
        ["git", "ls-files", "unclip", "prior", "decoder", "upsamplers"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert {name for name in names if ".dist-info/" not in name} == set(tracked)
    assert {"unclip/py.typed", "unclip/pocket/model_index.json"} <= set(names)
    licenses = {name.rpartition("/")[2] for name in names if "/licenses/" in name}
    assert licenses == {"LICENSE", "THIRD_PARTY.md", "THIRD_PARTY_DATA.md", "BUNDLED.toml"}


@pytest.mark.slow
def test_it_paints_from_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import sys, unclip; assert unclip.__file__.startswith(sys.argv[1]), unclip.__file__\n"
        "from unclip.cli.main import main\n"
        "sys.exit(main(['generate', 'a red apple', '--size', '64', '--out', 'apple.png']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "apple.png").stat().st_size > 1000
