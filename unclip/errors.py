"""The errors a user can cause, each with the exit code that the command line returns for it.

Every message is one line that says what was got, what was expected and what to do.
"""

import sys
from collections.abc import Callable


class UnCLIPError(Exception):
    """Base of all errors raised on purpose; `exit_code` is the process's exit status."""

    exit_code = 1


class ConfigError(UnCLIPError, ValueError):
    """A setting that does not exist, has the wrong type, or contradicts another one."""

    exit_code = 2


class CheckpointError(UnCLIPError, ValueError):
    """A checkpoint or model folder that is missing, damaged, or does not fit."""

    exit_code = 2


class DataError(UnCLIPError, ValueError):
    """Training data that cannot be read or is not what the configuration says."""

    exit_code = 2


class InputError(UnCLIPError, ValueError):
    """A prompt, picture, size or seed that cannot be used."""

    exit_code = 2


class BackendError(UnCLIPError, RuntimeError):
    """A device, dtype, kernel or optional package that was asked for and is not there."""

    exit_code = 2


class TrainingDivergedError(UnCLIPError, ArithmeticError):
    """Too many training steps in a row gave a loss or gradient that is not finite."""

    exit_code = 3


class ProcessLostError(UnCLIPError, RuntimeError):
    """Another process of the run is gone, or does not answer."""


class NumericalError(UnCLIPError, ArithmeticError):
    """Sampling gave values that are not finite."""

    exit_code = 4


class CancelledError(UnCLIPError):
    """Sampling was stopped by its callback or by Ctrl-C; what was finished is kept."""

    exit_code = 130


def shown(text: object) -> str:
    """What a file has for a name, fit for one line of a message: short, without control signs, and
    of what is no text only the type."""
    if not isinstance(text, str):
        return f"a {type(text).__name__}"
    short = text if len(text) <= 120 else f"{text[:120]}..."
    return short if short.isprintable() else ascii(short)


def first_ten(problems: list[str]) -> str:
    """As many problems as a line can hold, and how many more there are."""
    rest = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
    return f"{'; '.join(problems[:10])}{rest}"


def run_command(work: Callable[[], str]) -> int:
    """Runs a module's command: prints what it returns, or its error as one line; returns the exit
    code."""
    try:
        print(work())
    except UnCLIPError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
