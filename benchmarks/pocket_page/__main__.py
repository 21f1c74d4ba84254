"""Makes `docs/pocket.md` with its pictures, the README's pictures and the model card.

    python -m benchmarks.pocket_page --set DIR

Prose is in the templates beside this file; every number comes from the model itself or from
`records/`: `figures.json` and `before.json`, what `unclip eval --json` printed of this model and of
its predecessor, the rows of `benchmarks.ablations`, and the runs (`benchmarks.pocket_page.runs`).
`--keep-pictures` takes the pictures that are there, and makes the rest anew.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pocket_page.ablations import ablations
from benchmarks.pocket_page.failures import worst
from benchmarks.pocket_page.figures import read_figures
from benchmarks.pocket_page.losses import losses_svg
from benchmarks.pocket_page.model import model_facts
from benchmarks.pocket_page.page import Content, card, page, readme, write
from benchmarks.pocket_page.painting import paint_all, sheet_names
from benchmarks.pocket_page.prompts import PROMPTS, Section, read_prompts
from benchmarks.pocket_page.runs import RECORD, read_record
from benchmarks.pocket_page.sheets import save_small, sheet
from benchmarks.pocket_page.world import read_known
from unclip.errors import ConfigError, DataError, run_command
from unclip.evaluation.built import BuiltWorld
from unclip.evaluation.judge import load_judge
from unclip.pipeline.artist import PipelineArtist
from unclip.pipeline.pipeline import UnCLIPPipeline

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).parent / "records"


def make(options: argparse.Namespace) -> str:
    """Makes everything; returns what was written.

    Raises:
        UnCLIPError: something that it needs is missing or damaged; told before anything is painted.
    """
    pipe = UnCLIPPipeline.from_pretrained(options.model)
    if options.size not in pipe.sizes:
        raise ConfigError(f"--size is {options.size}, this model paints {pipe.sizes}")
    sections, pictures = read_prompts(options.prompts), options.out / "pocket"
    content = _content(options, pipe, sections)
    docs = os.path.relpath(options.out, options.readme.parent)
    texts = {
        pictures / "losses.svg": losses_svg(content.runs),
        options.out / "pocket.md": page(content),
        options.card: card(content),
        options.readme: readme(options.readme, content, docs),
    }
    if not options.keep_pictures:
        judge, world = load_judge(options.judge), BuiltWorld(options.set)
        paint_all(pipe, sections, options.size, pictures)
        found = worst(
            PipelineArtist(pipe), judge, world, looked_at=options.looked_at, shown=options.failures
        )
        cells = [failure.cell() for failure in found]
        save_small(sheet(cells, options.failures), pictures / "failures.webp")
    elif missing := [name for name in content.pictures if not (pictures / name).is_file()]:
        raise DataError(f"{pictures} has no {', '.join(missing)}: leave out --keep-pictures")
    for path, text in texts.items():
        write(path, text)
    return f"wrote {', '.join(map(str, texts))}"


def _content(
    options: argparse.Namespace, pipe: UnCLIPPipeline, sections: Sequence[Section]
) -> Content:
    """Gathers all but the pictures."""
    runs = read_record(options.runs)
    model, after = model_facts(options.model, pipe), read_figures(options.figures)
    if after.model != model.hash:
        raise DataError(
            f"{options.figures} is of the model {after.model}, but {options.model} is "
            f"{model.hash}: measure it again"
        )
    clip_world, decoder_world = read_known(options.recipe, options.set)
    return Content(
        model=model,
        sections=sections,
        size_px=options.size,
        sheets=sheet_names(sections),
        after=after,
        before=read_figures(options.before),
        runs=runs,
        clip_world=clip_world,
        decoder_world=decoder_world,
        ablations="\n\n".join(ablations(path) for path in options.ablations),
        looked_at=options.looked_at,
        num_failures=options.failures,
    )


def parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.pocket_page")
    found.add_argument("--model", default="pocket", help="a model folder, or pocket")
    found.add_argument("--runs", type=Path, default=RECORD, help="of benchmarks.pocket_page.runs")
    found.add_argument("--figures", type=Path, default=RECORDS / "figures.json")
    found.add_argument("--before", type=Path, default=RECORDS / "before.json")
    found.add_argument(
        "--ablations",
        type=Path,
        nargs="+",
        default=[RECORDS / "ablations.json", RECORDS / "sweeps.json"],
        help="rows.json of benchmarks.ablations",
    )
    found.add_argument("--set", type=Path, required=True, help="what unclip data built")
    found.add_argument("--judge", type=Path, default=ROOT / "benchmarks" / "judge" / "weights")
    found.add_argument("--recipe", type=Path, default=ROOT / "configs" / "pocket")
    found.add_argument("--prompts", type=Path, default=PROMPTS)
    found.add_argument("--size", type=int, default=256, help="of the sheets' pictures")
    found.add_argument(
        "--looked-at", type=int, default=48, help="pictures of each group, for failures"
    )
    found.add_argument("--failures", type=int, default=6, help="how many of them are shown")
    found.add_argument("--out", type=Path, default=ROOT / "docs")
    found.add_argument("--readme", type=Path, default=ROOT / "README.md")
    found.add_argument("--card", type=Path, default=ROOT / "unclip" / "pocket" / "README.md")
    found.add_argument("--keep-pictures", action="store_true")
    return found


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options = parser().parse_args(argv)
    return run_command(lambda: make(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
