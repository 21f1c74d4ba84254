"""One line an error, the right exit code, JSON for machines, a traceback only when asked for."""

import json

import pytest
import torch

from unclip.cli.report import Report, one_line, refuse, run
from unclip.errors import (
    BackendError,
    CancelledError,
    CheckpointError,
    ConfigError,
    DataError,
    InputError,
    NumericalError,
    TrainingDivergedError,
)

Captured = pytest.CaptureFixture[str]


def fail(error: BaseException, capfd: Captured, **options: bool) -> tuple[int, str, str]:
    def work(report: Report) -> None:
        report.result |= {"half": "done"}
        raise error

    code = run("generate", work, **options)
    captured = capfd.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (CheckpointError("x"), 2),
        (DataError("x"), 2),
        (InputError("x"), 2),
        (BackendError("x"), 2),
        (TrainingDivergedError("x"), 3),
        (NumericalError("x"), 4),
        (CancelledError("x"), 130),
    ],
)
def test_exit_codes(error: Exception, code: int, capfd: Captured) -> None:
    assert fail(error, capfd) == (code, "", "error: x\n")


def test_ctrl_c(capfd: Captured) -> None:
    code, out, err = fail(KeyboardInterrupt(), capfd)
    assert (code, out) == (130, "")
    assert err == "error: interrupted; what was finished is kept\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["python", "cuda", "cpu"],
)
def test_out_of_memory(error: Exception, capfd: Captured) -> None:
    code, _, err = fail(error, capfd)
    assert code == 2
    assert err.startswith("error: there is not enough memory: choose a smaller --size")


def test_what_nobody_expected(capfd: Captured) -> None:
    code, _, err = fail(KeyError("two\nlines"), capfd)
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith("error: unexpected: KeyError: ")
    assert "-v" in err


def test_the_traceback_on_request(capfd: Captured) -> None:
    _, _, err = fail(InputError("x"), capfd, verbose=True)
    assert "Traceback" in err
    assert err.endswith("error: x\n")


def test_json(capfd: Captured) -> None:
    code, out, err = fail(InputError("x"), capfd, as_json=True)
    data = json.loads(out)
    assert (code, err) == (2, "error: x\n")
    assert data.pop("seconds") >= 0
    assert data == {
        "verb": "generate",
        "ok": False,
        "exit_code": 2,
        "error": {"type": "InputError", "message": "x"},
        "half": "done",
    }
    assert refuse("unclip", InputError("y"), as_json=True) == 2
    assert json.loads(capfd.readouterr().out)["error"]["message"] == "y"


def test_results_and_notes(capfd: Captured) -> None:
    def work(report: Report) -> None:
        report.note("note [bold]kept as it is[/bold]")
        report.line("  result")
        with report.progress({"prior": 2}) as advance:
            advance("prior")
            report.line("another")

    assert run("generate", work) == 0
    captured = capfd.readouterr()
    assert captured.out == "  result\nanother\n"  # no terminal, no bars
    assert captured.err == "note [bold]kept as it is[/bold]\n"
    assert run("generate", work, as_json=True) == 0
    assert json.loads(capfd.readouterr().out)["ok"] is True


def test_only_the_first_process_prints(capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert fail(InputError("x"), capfd, as_json=True) == (2, "", "")
    monkeypatch.setenv("WORLD_SIZE", "1")  # a rank alone is no launch
    assert fail(InputError("x"), capfd)[2] == "error: x\n"


def test_long_lines_are_not_broken(capfd: Captured) -> None:
    run("info", lambda report: report.note("word " * 100))
    assert capfd.readouterr().err.count("\n") == 1


def test_nothing_reaches_the_terminal_as_a_command() -> None:
    assert one_line("a\n b\x1b[31m\u3000c\x07") == "a b\ufffd[31m c\ufffd"


def test_a_reader_that_left(capfd: Captured) -> None:
    def work(report: Report) -> None:
        raise BrokenPipeError

    assert run("info", work) == 1
    assert capfd.readouterr().err == ""
