"""The one function that runs a verb and reports: progress, JSON, errors, exit code, Ctrl-C.

Results go to stdout, all else to stderr. Exit codes: 0 done, 1 unexpected, 2 refused input (a
wrong setting, file, model or device), 3 training diverged, 4 numbers that are not finite, 130
interrupted.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from unclip.errors import BackendError, CancelledError, ConfigError, InputError, UnCLIPError

UNEXPECTED = 1

Advance = Callable[[str], None]
"""Counts one step of the stage of that name."""


class Report:
    """What a verb has to say."""

    def __init__(self, verb: str, *, as_json: bool = False, verbose: bool = False) -> None:
        from rich.console import Console

        self.verb, self.as_json, self.verbose = verb, as_json, verbose
        self.quiet = os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"
        """Of several processes only the first prints."""
        self.result: dict[str, Any] = {}
        """What `--json` prints."""
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._live = False

    def note(self, text: str) -> None:
        """Tells the user something on stderr."""
        if not self.quiet:
            self._console.print(_safe(text))

    def detail(self, text: str) -> None:
        """Tells the user something on stderr who asked for it with `-v`."""
        if self.verbose:
            self.note(text)

    def line(self, text: str) -> None:
        """Prints a line of the result on stdout; with `--json` the result says it."""
        if self.quiet or self.as_json:
            return
        if self._live and sys.stdout.isatty():
            self._console.print(_safe(text))  # above the bars
        else:
            _print(_safe(text))

    @contextmanager
    def progress(self, totals: Mapping[str, int]) -> Iterator[Advance]:
        """Shows a bar a stage with the time left, where stderr is a terminal."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        shown = self._console.is_terminal and not self.quiet
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        bars = Progress(
            *columns,
            console=self._console,
            disable=not shown,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        tasks = {
            stage: bars.add_task(stage.replace("_", " "), total=total)
            for stage, total in totals.items()
        }
        with bars:
            self._live = shown
            try:
                yield lambda stage: bars.advance(tasks[stage])
            finally:
                self._live = False


def run(
    verb: str,
    work: Callable[[Report], None],
    *,
    as_json: bool = False,
    verbose: bool = False,
    launched: bool = False,
) -> int:
    """Runs a verb's work and returns the exit code; every error becomes one line on stderr.

    Args:
        verbose: print details, and the traceback of an error.
        launched: several processes may share the work; else it is refused to them.
    """
    report = Report(verb, as_json=as_json, verbose=verbose)
    start = time.monotonic()
    try:
        if not launched and os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError(f"unclip {verb} runs in one process: start it without a launcher")
        work(report)
        error = None
    except KeyboardInterrupt:
        error = CancelledError("interrupted; what was finished is kept")
    except BrokenPipeError:
        return UNEXPECTED  # whoever read the results has left; nothing more can be told
    except Exception as caught:
        if verbose:
            traceback.print_exc()
        error = caught
    report.result |= {"seconds": round(time.monotonic() - start, 3)}
    return _finish(report, error)


def refuse(verb: str, error: Exception, *, as_json: bool) -> int:
    """Reports an error that came before a verb could run."""
    return _finish(Report(verb, as_json=as_json), error)


def _finish(report: Report, error: Exception | None) -> int:
    code = 0 if error is None else exit_code(error)
    outcome: dict[str, Any] = {"verb": report.verb, "ok": error is None, "exit_code": code}
    if error is not None:
        message = describe(error)
        outcome["error"] = {"type": type(error).__name__, "message": message}
        if not report.quiet:
            print(f"error: {message}", file=sys.stderr)
    if report.as_json and not report.quiet:
        try:
            _print(json.dumps(outcome | report.result))
        except BrokenPipeError:
            return UNEXPECTED
        except InputError as lost:
            print(f"error: {lost}", file=sys.stderr)
            return lost.exit_code
    return code


def _print(text: str) -> None:
    """Prints to stdout at once.

    Raises:
        BrokenPipeError: the reader has left.
        InputError: stdout cannot be written, a full disk for instance.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        raise lost_output(error) from error


def lost_output(error: OSError) -> Exception:
    """Gives stdout up, which Python would fail to flush again at its end; returns what to raise."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return error
    return InputError(f"cannot write to standard output: {error.strerror or error}")


def exit_code(error: Exception) -> int:
    """The process's exit status for an error."""
    if isinstance(error, UnCLIPError):
        return error.exit_code
    return BackendError.exit_code if _out_of_memory(error) else UNEXPECTED


def describe(error: Exception) -> str:
    """One line on what went wrong."""
    if isinstance(error, UnCLIPError):
        return one_line(str(error))
    if _out_of_memory(error):
        return "there is not enough memory: choose a smaller --size, or --dtype bfloat16"
    text = one_line(f"{type(error).__name__}: {error}")
    return f"unexpected: {text} (run again with -v for the traceback, and report it)"


def one_line(text: str) -> str:
    """Joins lines, and removes what a terminal would take for a command."""
    return _safe(" ".join(text.split()))


def _safe(text: str) -> str:
    characters = (" " if c.isspace() else c if c.isprintable() else "\ufffd" for c in text)
    return "".join(characters)


def _out_of_memory(error: Exception) -> bool:
    """PyTorch raises an ordinary RuntimeError where a CPU's memory is full."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
