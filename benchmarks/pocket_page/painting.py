"""Paints what the page shows: default settings, the first seed, nothing chosen."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.pocket_page.prompts import Section
from benchmarks.pocket_page.sheets import Cell, save_small, sheet
from unclip.evaluation.facts import ASTRONAUT_PROMPT
from unclip.pipeline.pipeline import UnCLIPPipeline

SEED = 0
SECTIONS = 4
"""Of a sheet."""
COLUMNS = 4
"""Of the README's sheet."""


def sheet_names(sections: Sequence[Section]) -> list[str]:
    """Returns the sheets' file names."""
    return [f"sheet_{place}.webp" for place in range(1, -(-len(sections) // SECTIONS) + 1)]


def paint_all(pipe: UnCLIPPipeline, sections: Sequence[Section], size_px: int, out: Path) -> None:
    """Writes the sheets, and the README's pictures.

    Raises:
        DataError: one is too large, or cannot be written.
    """
    painted = {section.title: _paint(pipe, section.prompts, size_px) for section in sections}
    for place, name in enumerate(sheet_names(sections)):
        rows = sections[place * SECTIONS : (place + 1) * SECTIONS]
        cells = [cell for section in rows for cell in painted[section.title]]
        columns = max(len(section.prompts) for section in rows)
        save_small(sheet(cells, columns), out / name)
    save_small(sheet([cells[0] for cells in painted.values()], COLUMNS), out / "readme.webp")
    (large,) = _paint(pipe, [ASTRONAUT_PROMPT], pipe.sizes[-1])
    save_small(large.image, out / f"astronaut_{pipe.sizes[-1]}.webp")


def _paint(pipe: UnCLIPPipeline, prompts: Sequence[str], size_px: int) -> list[Cell]:
    images = pipe(list(prompts), seed=[SEED] * len(prompts), size=size_px).images
    assert isinstance(images, list), "the pipeline's output is pictures"
    cells = []
    for image, prompt in zip(images, prompts, strict=True):
        assert isinstance(image, Image.Image)
        cells.append(Cell(image=image, label=prompt))
    print(f"painted {prompts[0]!r} and {len(prompts) - 1} more at {size_px} px", flush=True)
    return cells
