"""The command `unclip`: its verbs, and errors in how it was called.

No verb imports PyTorch before it must: `unclip --help` answers at once.
"""

import io
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, cast

import typer

from unclip import __version__
from unclip.cli import data
from unclip.cli.assemble import assemble
from unclip.cli.convert import convert
from unclip.cli.doctor import doctor
from unclip.cli.ema import ema
from unclip.cli.eval import evaluate
from unclip.cli.finetune import finetune
from unclip.cli.generate import generate
from unclip.cli.info import info
from unclip.cli.plan import plan
from unclip.cli.report import UNEXPECTED, lost_output, refuse
from unclip.cli.repro import repro
from unclip.cli.variations import variations
from unclip.errors import CancelledError, InputError

app = typer.Typer(
    help="An open unCLIP (DALL-E 2): pictures from prompts, and variations of pictures.",
    epilog="Exit codes: 0 done, 1 unexpected, 2 refused input, 3 training diverged, 4 numbers that "
    "are not finite, 130 interrupted.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS: dict[str, Callable[..., int]] = {
    verb.__name__: verb
    for verb in (generate, variations, info, repro, doctor, assemble, convert, ema, plan, finetune)
}
VERBS["eval"] = evaluate
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)
app.add_typer(data.app, name="data")

# What every Typer raises for a wrong call; the class itself has moved between versions.
WRONG_CALL = cast("type[Exception]", typer.BadParameter.__mro__[2])


def _print_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"unclip {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What an old locale cannot say is escaped; stderr does so anyway.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        code = app(args=arguments, prog_name="unclip", standalone_mode=False)
    except WRONG_CALL as error:
        message = getattr(error, "format_message", error.__str__)()
        verb = arguments[0] if arguments[0] in {*VERBS, "data"} else "unclip"
        where = "unclip --help" if verb == "unclip" else f"unclip {verb} --help"
        return refuse(verb, InputError(f"{message} (see {where})"), as_json=_json(arguments))
    except (typer.Abort, KeyboardInterrupt):
        return refuse("unclip", CancelledError("interrupted"), as_json=_json(arguments))
    except OSError as error:
        # The verbs tell their own: this is the help or the version, which cannot be printed.
        lost = lost_output(error)
        return UNEXPECTED if lost is error else refuse("unclip", lost, as_json=False)
    return code if isinstance(code, int) else 0


def _json(arguments: Sequence[str]) -> bool:
    return "--json" in arguments
