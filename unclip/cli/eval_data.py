"""`unclip eval MODEL --data DIR`: a model on captioned pictures, over one process or several."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unclip.cli.eval_networks import Networks, choose_networks
from unclip.cli.eval_paint import Painter, Share, merged
from unclip.cli.eval_report import Told, check_free, tell
from unclip.cli.outputs import slug
from unclip.cli.pictures import load
from unclip.cli.processes import Processes, from_first, joined, shares, this_process
from unclip.cli.report import Report
from unclip.evaluation.captioned.extractors import BATCH, Extractor
from unclip.evaluation.captioned.pairs import Pair, choose_pairs, digest, read_squares
from unclip.evaluation.captioned.panel import Predicted
from unclip.evaluation.captioned.reals import (
    cache_key,
    default_cache,
    load_features,
    save_features,
)
from unclip.evaluation.captioned.results import Compared, Read, check_enough, results
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.requests import check_seeds, printable
from unclip.pipeline.settings import Settings
from unclip.training.signals import StopSignal

COMMON_PX = 256
"""The size that most figures are told at."""
MANY = 1000
"""Pictures of which every tenth part is told."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for."""

    model: str
    data: str
    num: int | None = None
    seed: int = 0
    features: str | None = None
    feature_weights: str | None = None
    clip: str | None = None
    batch_size: int | None = None
    keep: str | None = None
    cache: str | None = None
    out: str | None = None
    force: bool = False
    device: str | None = None
    dtype: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """As for a call of the pipeline."""


def evaluate_on_data(report: Report, request: Request) -> None:
    """Paints the captions of a folder, compares, and writes figures and a page.

    Raises:
        UnCLIPError: a setting, folder, file or picture cannot be used, or a process failed.
    """
    processes = this_process()
    pairs = choose_pairs(request.data, request.num, request.seed)
    check_enough(len(pairs))
    check_seeds((request.seed, request.seed + len(pairs) - 1))
    out = None if request.out is None else Path(request.out)
    if out is not None:
        check_free(out, force=request.force)
    with joined(processes):
        pipe = load(
            report, request.model, request.device, request.dtype, local_rank=processes.local_rank
        )
        out = out or Path(f"eval-{slug(pipe.record.name)}")
        check_free(out, force=request.force)
        networks = choose_networks(
            report, pipe, request.features, request.feature_weights, request.clip
        )
        with StopSignal() as stop:
            run = _Run(report, request, processes, pairs, pipe, networks, stop)
            real = run.real_features()
            painted = run.paint()
        if processes.first:
            _conclude(report, request, run, out, real, painted)


class _Run:
    """The two passes over pictures: the real ones, and the model's."""

    def __init__(
        self,
        report: Report,
        request: Request,
        processes: Processes,
        pairs: Sequence[Pair],
        pipe: UnCLIPPipeline,
        networks: Networks,
        stop: StopSignal,
    ) -> None:
        self.report, self.request, self.processes = report, request, processes
        self.pairs, self.pipe, self.networks, self.stop = pairs, pipe, networks, stop
        settings = Settings(**request.settings)
        settings["size"] = size_of(pipe, request)
        self.captions = [printable(pair.caption) for pair in pairs]
        keep = None if request.keep is None else Path(request.keep)
        self.painter = Painter(
            pipe, self.captions, request.seed, settings, keep, lambda: self.stop.received
        )
        self.size = self.painter.sampling.size
        self.batch = pipe.batch_limit(self.size, request.batch_size)
        report.note(
            f"{len(pairs)} captions at {self.size} px, {self.batch} at a time; features of "
            f"{networks.features.name}"
        )
        if processes.first and (cut := sum(map(pipe.is_cut, self.captions))):
            report.note(
                f"{cut} captions are longer than the {pipe.max_tokens} tokens that are read: "
                "the rest of them is left out"
            )

    def real_features(self) -> dict[str, Tensor]:
        """Returns every network's features of the real pictures, in the first process."""
        cache = Path(self.request.cache) if self.request.cache else default_cache()
        count, found, keys = len(self.pairs), {}, {}
        mine = self.processes.share_of(count)
        told = shares(self.processes, lambda: {place: self._digest(place) for place in mine})
        if self.processes.first:
            digests = {place: value for part in told for place, value in part.items()}
            in_order = [digests[place] for place in range(count)]
            for key, network in self.networks.by_key.items():
                keys[key] = cache_key(in_order, self.size, network)
                if (features := load_features(cache, keys[key], count)) is not None:
                    found[key] = features
        missing = from_first(self.processes, [key for key in keys if key not in found])
        if not missing:
            self.report.note(f"features of the real pictures are those kept in {cache}")
            return found
        wanted = {key: self.networks.by_key[key] for key in missing}
        with self._counted("real", BATCH) as (batches, advance):
            parts = shares(self.processes, lambda: self._see_real(batches, wanted, advance))
        for key in missing if self.processes.first else ():
            found[key] = merged(parts, key, count)
            save_features(cache, keys[key], found[key], wanted[key])
        return found

    def paint(self) -> list[Share]:
        """Paints all captions; returns every process's share, in the first one."""
        with self._counted("painted", self.batch) as (batches, advance):
            return shares(
                self.processes, lambda: self.painter.share(batches, self.networks, advance)
            )

    def _digest(self, place: int) -> str:
        self.painter.check()
        return digest(self.pairs[place])

    def _see_real(
        self, batches: Sequence[range], wanted: dict[str, Extractor], advance: Callable[[], None]
    ) -> Share:
        share = Share()
        for rows in batches:
            share.places += rows
            share.see(wanted, read_squares([self.pairs[place] for place in rows], self.size))
            for _ in rows:
                advance()
            self.painter.check()
        return share

    @contextmanager
    def _counted(self, name: str, size: int) -> Iterator[tuple[list[range], Callable[[], None]]]:
        """This process's batches of so many pictures, and what counts a picture of them."""
        count = len(self.pairs)
        batches = [range(start, min(start + size, count)) for start in range(0, count, size)]
        mine = [batches[place] for place in self.processes.share_of(len(batches))]
        total, done = sum(map(len, mine)), 0
        with self.report.progress({name: total}) as advance:

            def count_one() -> None:
                nonlocal done
                advance(name)
                done += 1
                # For a log file, which has no bars.
                if total >= MANY and done * 10 // total > (done - 1) * 10 // total:
                    self.report.note(f"{name}: {done:,} of this process's {total:,}")

            yield mine, count_one


def size_of(pipe: UnCLIPPipeline, request: Request) -> int:
    """The size asked for, or else the largest that a model paints up to 256 px."""
    wish = request.settings.get("size")
    if wish is not None:
        return wish
    return max((size for size in pipe.sizes if size <= COMMON_PX), default=pipe.sizes[0])


def _conclude(
    report: Report,
    request: Request,
    run: _Run,
    out: Path,
    real: dict[str, Tensor],
    painted: list[Share],
) -> None:
    """Takes the figures and tells them."""
    networks, count = run.networks, len(run.pairs)
    made = {key: merged(painted, key, count) for key in networks.by_key}
    texts = {each.key: each.read(run.captions) for each in (networks.reader, networks.own) if each}
    features, reader, own = networks.features.key, networks.reader.key, networks.own
    predicted = None
    if own is not None:
        predicted = Predicted(texts[own.key], real[own.key], merged(painted, None, count))
    report.note("taking the figures")
    # A GPU finds neighbours fast; others have no float64, or are no faster.
    where = run.pipe.device if run.pipe.device.type == "cuda" else torch.device("cpu")
    found = results(
        run.captions,
        Compared(made[features].to(where), real[features].to(where)),
        Read(made[reader], real[reader], texts[reader]),
        predicted,
        request.seed,
    )
    told = Told(
        results=found,
        pairs=run.pairs,
        captions=run.captions,
        thumbs={place: each for share in painted for place, each in share.thumbs.items()},
        predicted=predicted,
        networks=networks,
        pipe=run.pipe,
        sampling=run.painter.sampling,
        seed=request.seed,
        data=Path(request.data).resolve().name,
        batch_size=run.batch,
        resumed=sum(share.resumed for share in painted),
    )
    tell(report, told, out, force=request.force)
