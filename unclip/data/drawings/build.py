"""Builds the set from fetched packages: choose, render, drop copies, caption, split, write."""

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from unclip.data.drawings import render
from unclip.data.drawings.captions import captions
from unclip.data.drawings.catalogue import SOURCES
from unclip.data.drawings.expected import check_chosen, check_kept
from unclip.data.drawings.files import write_whole
from unclip.data.drawings.folder import (
    LICENCES,
    image_name,
    remove_leftovers,
    svg_name,
)
from unclip.data.drawings.journal import Entry, Journal
from unclip.data.drawings.licences import third_party
from unclip.data.drawings.names import read_names
from unclip.data.drawings.originals import Original
from unclip.data.drawings.pool import Broken, Task, draw_all
from unclip.data.drawings.records import TABLE, Drawing, table_text
from unclip.data.drawings.reporter import Reporter
from unclip.data.drawings.selection import select
from unclip.data.drawings.sources import Source
from unclip.data.drawings.speech import natural, spoken, without_false_colour
from unclip.data.drawings.split import concept_key, split_of
from unclip.data.drawings.summary import Summary
from unclip.errors import BackendError, DataError

MOST_BROKEN = 0.01
"""Share of drawings that may fail to render."""
FLAG_WEIGHT = 0.3
MOST_KEYWORDS = 12


def build(
    out: Path,
    sources: Sequence[Source],
    cache: Path,
    reporter: Reporter,
    *,
    jobs: int,
    versions: Mapping[str, str],
    unpinned: Sequence[str] = (),
) -> Summary:
    """Builds a set; what an earlier run finished is kept, and the table is written last.

    Args:
        cache: where the packages are.
        versions: of the packages, by name.
        unpinned: sources whose package has another version than the pinned one.

    Raises:
        BackendError: the rasteriser (extra `data`) is not installed.
        DataError: a package is damaged, too many drawings are, or counts are not as expected.
        InputError: a file cannot be written.
    """
    if find_spec("resvg_py") is None:
        raise BackendError("rendering drawings needs resvg-py: pip install 'unclip[data]'")
    summary = Summary()
    originals = _choose(sources, cache, reporter)
    summary.chosen = dict(Counter(original.source for original in originals.values()))
    summary.chosen = {source.name: summary.chosen.get(source.name, 0) for source in sources}
    check_chosen(summary.chosen, unpinned)
    journal = Journal(out)
    entries = _mark_copies(originals, _render(out, originals, journal, reporter, summary, jobs))
    journal.rewrite(entries)
    for entry in entries:
        if entry.unfit is not None or entry.copy_of is not None:
            summary.dropped[entry.unfit or "copy"] += 1
        else:
            summary.drawings.append(describe(originals[entry.id], entry))
    counts = Counter(drawing.source for drawing in summary.drawings)
    check_kept({source.name: counts[source.name] for source in sources}, unpinned)
    page = third_party(summary.drawings, sources, versions)
    write_whole(out / LICENCES, page.encode())
    write_whole(out / TABLE, table_text(summary.drawings).encode())
    remove_leftovers(out, summary.drawings)
    return summary


def _choose(sources: Sequence[Source], cache: Path, reporter: Reporter) -> dict[str, Original]:
    originals: dict[str, Original] = {}
    with reporter.progress({"sources": len(sources)}) as advance:
        names = read_names(cache)
        for source in sources:
            originals |= select(source, cache, names)
            advance("sources")
    return originals


def _render(
    out: Path,
    originals: Mapping[str, Original],
    journal: Journal,
    reporter: Reporter,
    summary: Summary,
    jobs: int,
) -> dict[str, Entry]:
    """Renders what is not finished yet."""
    rasteriser = importlib.metadata.version("resvg_py")
    entries: dict[str, Entry] = {}
    tasks: list[Task] = []
    with reporter.progress({"drawings": len(originals)}) as advance:
        for drawing, original in originals.items():
            task = _task(out, drawing, original, rasteriser)
            files = (task.webp_file, task.svg_file)
            finished = journal.finished(drawing, task.origin, files, entries)
            if finished is None:
                tasks.append(task)
            else:
                entries[drawing] = finished
                advance("drawings")
        if entries:
            reporter.note(f"{len(entries):,} of {len(originals):,} drawings are finished already")
        broken: list[Broken] = []
        for results in draw_all(tasks, min(jobs, len(tasks))) if tasks else ():
            done = [one for one in results if isinstance(one, Entry)]
            journal.add(done)
            entries |= {entry.id: entry for entry in done}
            broken += [one for one in results if isinstance(one, Broken)]
            for _ in results:
                advance("drawings")
    summary.rendered = len(tasks) - len(broken)
    summary.dropped.update(one.reason for one in broken)
    _check_broken(broken, len(originals))
    return {drawing: entries[drawing] for drawing in originals if drawing in entries}


def _task(out: Path, drawing: str, original: Original, rasteriser: str) -> Task:
    content = original.svg.encode() if original.svg is not None else b""
    if original.bitmap is not None:
        content = original.bitmap.read_bytes()
    made_with = f"{rasteriser} {render.SIZE_PX} {render.QUALITY} {render.MARGIN} {original.trim}"
    digest = hashlib.sha1(content + made_with.encode(), usedforsecurity=False).hexdigest()
    return Task(
        id=drawing,
        origin=digest,
        svg=original.svg,
        bitmap=original.bitmap,
        trim=original.trim,
        webp_file=out / image_name(original.source, drawing),
        svg_file=out / svg_name(original.source, drawing),
    )


def _check_broken(broken: Sequence[Broken], total: int) -> None:
    if len(broken) <= MOST_BROKEN * total:
        return
    reasons = Counter(one.reason for one in broken).most_common(3)
    listed = "; ".join(f"{reason} ({count})" for reason, count in reasons)
    raise DataError(
        f"{len(broken)} of {total} drawings cannot be rendered, more than {MOST_BROKEN:.0%}: "
        f"{listed}, {broken[0].id} among them; remove the folder of packages (--cache) and run "
        "again"
    )


def _mark_copies(originals: Mapping[str, Original], entries: Mapping[str, Entry]) -> list[Entry]:
    """Marks the drawings that look like an earlier one of their source."""
    first: dict[tuple[str, str], str] = {}
    marked = []
    for drawing, entry in entries.items():
        same = drawing
        if entry.unfit is None:
            same = first.setdefault((originals[drawing].source, entry.look), drawing)
        marked.append(replace(entry, copy_of=None if same == drawing else same))
    return marked


def describe(original: Original, entry: Entry) -> Drawing:
    """Makes the record of a rendered drawing."""
    source = SOURCES[original.source]
    said = spoken(original.label, original.group, original.hexcode)
    concept = concept_key(said)
    name = without_false_colour(natural(said), original.group, entry.colors)
    author = original.author or source.author
    keywords = original.keywords[:MOST_KEYWORDS]
    return Drawing(
        id=entry.id,
        file_name=image_name(original.source, entry.id),
        svg=None if entry.svg is None else svg_name(original.source, entry.id),
        source=original.source,
        name=name,
        tone=original.tone,
        keywords=keywords,
        group=original.group,
        subgroup=original.subgroup,
        hexcode=original.hexcode,
        concept=concept,
        styles=original.styles,
        colors=entry.colors,
        coverage=entry.coverage,
        captions=captions(
            drawing=entry.id,
            name=name,
            keywords=keywords,
            group=original.group,
            tone=original.tone,
            styles=original.styles,
            colors=entry.colors,
            one_ink=source.one_ink,
        ),
        licence=source.licence,
        attribution=f"{source.title}, {author}",
        tier=source.tier,
        weight=FLAG_WEIGHT if original.group == "flags" else 1.0,
        split=split_of(concept, entry.id),
    )
