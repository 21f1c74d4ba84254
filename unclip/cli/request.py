"""A request for pictures, from prompts or from a photo, shared out over the launched processes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unclip.cli.interrupts import interrupt_held
from unclip.cli.outputs import Plan, plan
from unclip.cli.processes import Processes, from_first, joined, this_process, together
from unclip.cli.report import Report
from unclip.errors import InputError
from unclip.pipeline.requests import check_seeds, draw_seed


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a verb asks for, before anything is loaded."""

    labels: Sequence[str]
    """What each picture is called."""
    prompts: Sequence[str] | None = None
    """One a picture; None for variations."""
    photo: str | None = None
    strength: str | None = None
    """None is what the model can do: subtle, or 0 without a prior."""
    fit: str = "crop"
    seed: int | None
    out: str | None
    grid: bool
    force: bool
    model: str
    device: str | None
    dtype: str | None
    low_memory: bool = False
    revision: str | None = None
    local_files_only: bool = False
    upsampler: str | None = None
    loras: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    """As for a call of the pipeline."""


def fulfil(report: Report, request: Request) -> None:
    """Makes the pictures of a request, this process's share of them.

    Raises:
        InputError: a seed, a file or a setting cannot be used.
    """
    processes = this_process()
    count = len(request.labels)
    if request.grid and processes.world > 1:
        raise InputError("--grid needs all pictures in one process: leave it out")
    with joined(processes):
        seed = from_first(processes, draw_seed() if request.seed is None else request.seed)
        seeds = [seed + i for i in range(count)]
        check_seeds(seeds)
        files = plan(request.out, request.labels, seeds, grid=request.grid, force=request.force)

        def share() -> None:
            files.check(processes.share_of(count))
            _make(report, request, files, seeds, processes)

        together(processes, report, share)


def _make(
    report: Report, request: Request, files: Plan, seeds: Sequence[int], processes: Processes
) -> None:
    # From here on it takes PyTorch.
    with interrupt_held():
        from unclip.cli.pictures import Order, enlarge, load, make
        from unclip.pipeline.photos import fit_square, read_photo
        from unclip.pipeline.settings import Settings
        from unclip.pipeline.variations import parse_strength, resolve_strength

    photo = None
    if request.photo is not None:
        photo = read_photo(request.photo)
        fit_square(photo.image, request.fit)
    if request.strength is not None:
        parse_strength(request.strength)
    order = Order(
        plan=files,
        seeds=seeds,
        prompts=request.prompts,
        photo=photo,
        fit=request.fit,
        settings=Settings(**request.settings),
        processes=processes,
    )
    rank = processes.local_rank
    pipe = load(
        report,
        request.model,
        request.device,
        request.dtype,
        local_rank=rank,
        revision=request.revision,
        local_files_only=request.local_files_only,
        low_memory=request.low_memory,
        loras=request.loras,
    )
    pipe = enlarge(report, pipe, request.settings.get("size"), request.upsampler)
    strength = resolve_strength(request.strength, pipe.prior)
    make(report, pipe, replace(order, strength=strength))
