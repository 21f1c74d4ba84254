"""Rendering in several processes: whole files or none, and one broken drawing stops nobody."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path

from PIL import Image

from unclip.data.drawings.files import write_whole
from unclip.data.drawings.journal import Entry, checksum
from unclip.data.drawings.render import Picture, UnfitError, render
from unclip.data.pictures import DAMAGE
from unclip.errors import DataError

BATCH = 16
"""Drawings that a process takes at once."""
AHEAD = 3
"""Batches that wait for each process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A drawing to render, and where its files go."""

    id: str
    origin: str
    svg: str | None
    bitmap: Path | None
    trim: bool
    webp_file: Path
    svg_file: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A drawing that could not be read or rendered."""

    id: str
    reason: str


def draw_all(tasks: Sequence[Task], jobs: int) -> Iterator[list[Entry | Broken]]:
    """Renders drawings and writes their files; yields what came of them, batch by batch.

    Raises:
        DataError: a process died.
        InputError: a file cannot be written.
    """
    waiting: deque[Future[list[Entry | Broken]]] = deque()
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin)
    try:
        for start in range(0, len(tasks), BATCH):
            waiting.append(pool.submit(draw, tasks[start : start + BATCH]))
            if len(waiting) > AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process that renders drawings died (too little memory?): run again with fewer "
            "--jobs; what is finished is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def draw(tasks: Sequence[Task]) -> list[Entry | Broken]:
    """Renders some drawings in this process.

    Raises:
        InputError: a file cannot be written.
    """
    return [_draw(task) for task in tasks]


def _draw(task: Task) -> Entry | Broken:
    try:
        picture = render(task.svg, task.bitmap, trim=task.trim)
    except UnfitError as error:
        return Entry(id=task.id, origin=task.origin, unfit=str(error))
    except (*DAMAGE, Image.DecompressionBombError) as error:
        return Broken(id=task.id, reason=_reason(error))
    return _write(task, picture)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:60]}" if text else type(error).__name__


def _write(task: Task, picture: Picture) -> Entry:
    write_whole(task.webp_file, picture.webp)
    svg = None if picture.svg is None else picture.svg.encode()
    if svg is not None:
        write_whole(task.svg_file, svg)
    return Entry(
        id=task.id,
        origin=task.origin,
        webp=checksum(picture.webp),
        svg=None if svg is None else checksum(svg),
        colors=picture.colors,
        coverage=picture.coverage,
        look=picture.look,
    )


def _begin() -> None:
    """Leaves Ctrl-C to the parent, and ends with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
