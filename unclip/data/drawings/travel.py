"""Packs a built set small enough to travel: its table, its SVGs, and its bitmaps reduced.

    python -m unclip.data.drawings.travel pack drawings/ set.tar.xz
    python -m unclip.data.drawings.travel unpack set.tar.xz drawings/

The pictures are rendered anew where it is unpacked, without a network or the packages that the set
was built from.
"""

import argparse
import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from unclip.data.drawings.files import write_whole
from unclip.data.drawings.pool import Broken, Task, draw_all
from unclip.data.drawings.records import TABLE, Drawing, read_table
from unclip.data.pictures import DAMAGE
from unclip.errors import DataError, InputError, run_command

BITMAP_PX = 96
"""Side that bitmaps are reduced to: what scenes of 64 px need."""
QUALITY = 85


def pack(folder: Path, archive: Path) -> int:
    """Writes a set as one compressed archive; returns its bytes.

    Raises:
        DataError: it is no finished set, or a file of it is missing.
        InputError: the archive cannot be written.
    """
    drawings = read_table(folder)
    content = io.BytesIO()
    try:
        with tarfile.open(fileobj=content, mode="w:xz", preset=6) as tar:
            tar.add(folder / TABLE, TABLE)
            # Neighbours of one source are alike, and compress well together.
            for drawing in sorted(drawings, key=lambda drawing: drawing.id):
                if drawing.svg is not None:
                    tar.add(folder / drawing.svg, drawing.svg)
                else:
                    _add(tar, drawing.file_name, _reduced(folder / drawing.file_name))
    except DAMAGE as error:
        raise DataError(f"{folder} lacks a file of its table or it is damaged: {error}") from error
    archive.parent.mkdir(parents=True, exist_ok=True)
    write_whole(archive, content.getvalue())
    return len(content.getvalue())


def _reduced(path: Path) -> bytes:
    with Image.open(path, formats=("WEBP",)) as image:
        small = image.convert("RGBa").resize((BITMAP_PX, BITMAP_PX), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.convert("RGBA").save(content, "WEBP", quality=QUALITY)
    return content.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    tar.addfile(about, io.BytesIO(content))


def unpack(archive: Path, folder: Path, jobs: int) -> int:
    """Unpacks a set and renders its pictures; returns how many. The table comes last.

    Raises:
        InputError: the folder holds something, or cannot be written.
        DataError: the archive is damaged, or a drawing cannot be rendered.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(place, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DataError(f"{archive} is damaged or cannot be unpacked: {error}") from error
        drawings = read_table(Path(place))
        try:
            tasks = [
                _task(Path(place), folder, drawing)
                for drawing in drawings
                if drawing.svg is not None
            ]
            for drawing in drawings:
                if drawing.svg is None:
                    small = (Path(place) / drawing.file_name).read_bytes()
                    write_whole(folder / drawing.file_name, small)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{archive} lacks a file of its table: {error}") from error
        for batch in draw_all(tasks, jobs):
            for made in batch:
                if isinstance(made, Broken) or made.webp is None:
                    raise DataError(f"{archive}: {made.id} cannot be rendered here")
        write_whole(folder / TABLE, (Path(place) / TABLE).read_bytes())
    return len(drawings)


def _task(place: Path, folder: Path, drawing: Drawing) -> Task:
    assert drawing.svg is not None, "the caller sees to it"
    return Task(
        id=drawing.id,
        origin="",
        svg=(place / drawing.svg).read_text(encoding="utf-8"),
        bitmap=None,
        trim=False,
        webp_file=folder / drawing.file_name,
        svg_file=folder / drawing.svg,
    )


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m unclip.data.drawings.travel")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, source, target in (("pack", "set", "archive"), ("unpack", "archive", "set")):
        subparser = verbs.add_parser(verb)
        subparser.add_argument("source", type=Path, metavar=source)
        subparser.add_argument("target", type=Path, metavar=target)
        subparser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(argv)

    def work() -> str:
        if options.verb == "pack":
            size = pack(options.source, options.target)
            return f"{size / 2**20:.1f} MiB in {options.target}"
        count = unpack(options.source, options.target, options.jobs)
        return f"{count:,} drawings in {options.target}"

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
