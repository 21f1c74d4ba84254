"""`unclip data illustrations`: exit codes, JSON, one-line errors, Ctrl-C, and going on."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unclip.cli.main import main
from unclip.data.drawings.expected import EXPECTED, Counts
from unclip.data.drawings.journal import JOURNAL
from unclip.data.drawings.packages import ICONIFY
from unclip.data.drawings.records import TABLE, read_table

ARGUMENTS = ("data", "illustrations", "--out", "set", "--cache", "cache", "--jobs", "1")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def test_json(cache: Path, monkeypatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(EXPECTED, "noto", Counts(7, 6))
    assert main([*ARGUMENTS, "--source", "noto", "--json"]) == 0
    out, err = capfd.readouterr()
    result = json.loads(out)
    assert (result["verb"], result["ok"], result["path"]) == ("data illustrations", True, "set")
    assert (result["drawings"], result["sources"], result["chosen"]) == (
        *(6, {"noto": 6}, {"noto": 7}),
    )
    assert (result["dropped"], result["missing"]) == ({"empty": 1}, {})
    assert result["packages"]["@iconify/json"] == ICONIFY.version
    assert "6 drawings of 5 concepts with" in err
    assert len(read_table(Path("set"))) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--source", "noto"), "noto has 7 drawings, expected 2003: remove"),
        (("--source", "twemoji"), "twemoji.json is missing: remove"),
        (("--tiers", "X"), "--tiers X: expected some of A, B and C"),
        (("--source", "openmoji"), "openmoji is of tier C"),
        (("--source", "nobody"), "no source nobody"),
        (("--out", "cache", "--source", "noto"), "holds other things (npm)"),
        (("--jobs", "0"), "see unclip data --help"),
    ],
)
def test_refusals(
    cache: Path, arguments: tuple[str, ...], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, *arguments]) == 2
    out, err = capfd.readouterr()
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert says in line
    assert out == ""
    assert not (Path("set") / TABLE).exists()


def test_calls_that_say_too_little(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 2
    assert main(["data", "pictures"]) == 2
    assert main(["data", "illustrations"]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if "error: " in line]
    assert [line.split("(")[-1] for line in errors] == ["see unclip data --help)"] * 3


def test_help_needs_no_library() -> None:
    code = (
        "import sys; from unclip.cli.main import main; main(['data', 'illustrations', '--help'])\n"
        "assert not {'torch', 'numpy', 'PIL', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def many(cache: Path, count: int) -> None:
    """A source of many drawings that all look different."""
    path = ICONIFY.folder(cache) / "json" / "noto.json"
    icons = json.loads(path.read_text())
    shape = '<path d="M{} {}h{}v9h-9z" fill="#{:03x}"/>'
    icons["icons"] = {
        f"thing {i}": {"body": shape.format(i % 20, i // 20 % 20, 5 + i % 7, i * 5 % 4096)}
        for i in range(count)
    }
    path.write_text(json.dumps(icons))


CHILD = """
import sys
from unclip.cli.main import main
from unclip.data.drawings.expected import EXPECTED
if __name__ == "__main__":
    EXPECTED.clear()
    sys.exit(main(sys.argv[1:]))
"""


def start(folder: Path, **more) -> subprocess.Popen[str]:
    """The command in a process of its own, which counts nothing."""
    (folder / "child.py").write_text(CHILD)
    return subprocess.Popen(
        [sys.executable, "child.py", *ARGUMENTS, "--source", "noto", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def wait_for_pictures(folder: Path, process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 120
    while not (folder / JOURNAL).exists() or len(list(folder.rglob("*.webp"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc here")
def test_a_killed_build_goes_on(cache: Path, tmp_path: Path) -> None:
    many(cache, 320)
    process = start(tmp_path)
    wait_for_pictures(tmp_path / "set", process, 40)
    workers = children_of(process.pid)
    process.kill()
    process.communicate()
    # Its processes end with it, and nothing says that the set is finished.
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (tmp_path / "set" / TABLE).exists()
    out, err = start(tmp_path).communicate(timeout=300)
    result = json.loads(out)
    assert 0 < result["rendered"] < 320 - 16
    assert "drawings are finished already" in err
    killed = {p.name: p.read_bytes() for p in (tmp_path / "set").rglob("*") if p.is_file()}
    shutil.rmtree(tmp_path / "set")
    start(tmp_path).communicate(timeout=300)
    whole = {p.name: p.read_bytes() for p in (tmp_path / "set").rglob("*") if p.is_file()}
    assert killed == whole


@pytest.mark.slow
def test_ctrl_c(cache: Path, tmp_path: Path) -> None:
    many(cache, 320)
    process = start(tmp_path, start_new_session=True)
    wait_for_pictures(tmp_path / "set", process, 40)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["error"]["type"] == "CancelledError"
    assert [line for line in err.splitlines() if "Traceback" in line] == []
    assert not (tmp_path / "set" / TABLE).exists()


def test_a_full_disk(cache: Path, tmp_path: Path) -> None:
    """A limit on the size of files does to a write what a full disk does."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))

    out, err = start(tmp_path, preexec_fn=limit).communicate(timeout=120)
    assert json.loads(out)["exit_code"] == 2, err
    assert "cannot write set/" in err
    assert "Traceback" not in err
    assert not (tmp_path / "set" / TABLE).exists()
    assert not list((tmp_path / "set").rglob("*.tmp"))
