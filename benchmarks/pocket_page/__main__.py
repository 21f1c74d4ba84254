"""Makes `docs/pocket.md` with its pictures, the README's pictures and the model card.

    python -m benchmarks.pocket_page --runs runs/pocket/{clip,prior,decoder} --set DIR \\
        --hardware hardware.yaml --figures figures.json --before before.json

`figures.json` is what `unclip eval --json` printed. Prose is in the templates beside this file,
every number comes from files. `--keep-pictures` takes the pictures that are there, and makes the
rest anew.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pocket_page.ablations import ablations
from benchmarks.pocket_page.costs import read_hardware, read_run
from benchmarks.pocket_page.failures import worst
from benchmarks.pocket_page.figures import read_figures
from benchmarks.pocket_page.losses import losses_svg
from benchmarks.pocket_page.model import model_facts
from benchmarks.pocket_page.page import Content, card, page, readme, write
from benchmarks.pocket_page.painting import paint_all, sheet_names
from benchmarks.pocket_page.prompts import PROMPTS, Section, read_prompts
from benchmarks.pocket_page.sheets import save_small, sheet
from benchmarks.pocket_page.world import read_known
from unclip.errors import ConfigError, DataError, run_command
from unclip.evaluation.built import BuiltWorld
from unclip.evaluation.judge import load_judge
from unclip.pipeline.artist import PipelineArtist
from unclip.pipeline.pipeline import UnCLIPPipeline

ROOT = Path(__file__).parents[2]


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
    runs = [read_run(folder) for folder in options.runs]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(f"two of the runs have one name ({', '.join(names)}): rename a folder")
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
        before=read_figures(options.before) if options.before else None,
        runs=runs,
        hardware=read_hardware(options.hardware, runs),
        clip_world=clip_world,
        decoder_world=decoder_world,
        ablations=ablations(options.ablations) if options.ablations else "Nothing at equal cost.",
        looked_at=options.looked_at,
        num_failures=options.failures,
    )


def parser() -> argparse.ArgumentParser:
    """Returns the command's options."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.pocket_page")
    found.add_argument("--model", default="pocket", help="a model folder, or pocket")
    found.add_argument("--runs", type=Path, nargs="+", required=True, help="finished runs")
    found.add_argument("--hardware", type=Path, required=True, help="what they were trained on")
    found.add_argument("--figures", type=Path, required=True, help="unclip eval --json")
    found.add_argument("--before", type=Path, help="the same of an earlier model")
    found.add_argument("--ablations", type=Path, help="rows.json of benchmarks.ablations")
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
