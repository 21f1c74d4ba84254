"""Batches of image shards through energon: every sample once an epoch, resumed where they stopped.

Every loading process reads a stream: its own equal part of all samples, slice by slice from several
shards at once and through a shuffle buffer. What is shuffled are places in the index, not pictures,
so that a buffer costs nothing and is restored at once; a picture is read and decoded when its turn
comes. Captions and crops are functions of the seed and the place in the stream.
"""

import atexit
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from megatron.energon import RepeatDataset, WorkerConfig, get_savable_loader
from megatron.energon.flavors.webdataset.sample_loader import WebdatasetSampleLoaderDataset
from megatron.energon.flavors.webdataset.sharder import Sharder
from megatron.energon.savable_loader import (
    SavableDataLoaderState,
    SavableDatasetCheckpoint,
    SavableDatasetState,
)
from megatron.energon.state import FlexState
from megatron.energon.wrappers.base import BaseWrapperDataset
from megatron.energon.wrappers.shuffle_buffer_dataset import ShuffleBufferDataset
from torch.utils.data import default_collate

from unclip.data.samples import Unusable, told
from unclip.data.shards.pictures import ShardPictures
from unclip.errors import DataError
from unclip.training.data import Patience, PositionBatches, ignore_signals
from unclip.training.settings import TrainConfig
from unclip.training.sources import Faults, count_faults, list_faults
from unclip.training.stream_state import RankState, load, share_out

BUFFER = 4096
"""Places in a stream's shuffle buffer."""
SLICE = 500
"""Samples that are read one after another from a shard, about."""
SLICES_AT_ONCE = 16
REMEMBER_SECONDS = 10.0
"""How often a loading process notes its state; what it gave since is decoded again on a resume."""
MOST_IN_A_ROW = 1000
"""Unusable records in a row at which a stream gives up."""


class StreamSource:
    """The batches of one process from its streams."""

    def __init__(
        self,
        pictures: ShardPictures,
        batches: PositionBatches,
        config: TrainConfig,
        resume: Sequence[bytes] | None,
    ) -> None:
        self.pictures, self.rank, self.world_size = pictures, batches.rank, batches.world_size
        self.workers = config.num_workers
        self.faults: Faults = Counter()
        self.notes: list[str] = []
        state = None
        if resume:
            state = self._take([load(content) for content in resume])
        elif batches.first_step:
            self.notes.append(
                "the checkpoint says not where the shards' streams stood: they begin anew"
            )
        self.streams = self.world_size * max(1, self.workers)
        if len(pictures) < self.streams:
            raise DataError(
                f"{pictures.root} has {len(pictures)} samples, fewer than the {self.streams} "
                "processes that load: choose a smaller train.num_workers"
            )
        self.part = batches.part
        self.loader = self._open(config)
        if state is not None:
            self.loader.restore_state_rank(_for_loader(state, self.workers))
        self.timeout_seconds = config.timeout_seconds
        self._batches: Generator[dict[str, Any]] | None = None
        self._waiting: Patience | None = None
        # Python joins its processes at exit, and these do not heed the signal that ends others.
        atexit.register(self.close)

    def batch(self) -> dict[str, Any]:
        """The next part of a step.

        Raises:
            DataError: a stream found nothing that can be used for a long time, or a process that
                loads is gone or hangs.
        """
        if self._waiting is None:  # not before: energon would ask processes that do not run yet
            self._batches = cast(Generator[dict[str, Any]], iter(self.loader))
            self._waiting = Patience(self._batches, self.timeout_seconds, self.workers)
        batch = self._waiting.next()
        if "broken" in batch:
            raise DataError(batch["broken"])
        count_faults(self.faults, batch)
        return batch

    def state(self) -> bytes | None:
        """Where this process's streams stand after the last batch."""
        saved = self.loader.save_state_rank()
        if saved is None:
            return None
        streams = [_from_loader(stream, self.part) for stream in saved.worker_states]
        first = self.rank * len(streams)
        fingerprint = self.pictures.fingerprint()
        return RankState(fingerprint, first, streams, saved.next_worker_id, self.faults).dump()

    def close(self) -> None:
        """Ends the loading processes."""
        atexit.unregister(self.close)
        if self._batches is not None and self._waiting is not None:
            self._batches.close()
            self._waiting.close()
            self._waiting = None
        # All three hold the iterator whose end stops the processes.
        self._batches = self.loader._epoch_iterator = self.loader._iterator = None

    def _take(self, before: list[RankState]) -> RankState:
        """This process's part of the states of an earlier world."""
        if {state.shards for state in before} != {self.pictures.fingerprint()}:
            raise DataError(
                f"{self.pictures.root} holds other shards than this run began with: put those "
                "back, or choose another --out"
            )
        state = share_out(before, self.rank, self.world_size)
        self.faults = state.faults
        workers = len(state.streams)
        # One stream needs no process of its own; several do.
        if workers > 1 or self.workers > 1:
            if workers != self.workers:
                self.notes.append(
                    f"the shards are read as {workers * self.world_size} streams since the run "
                    f"began: {workers} loading processes here, not train.num_workers "
                    f"{self.workers}"
                )
            self.workers = workers
        return state

    def _open(self, config: TrainConfig) -> Any:
        worker_config = WorkerConfig(
            rank=self.rank,
            world_size=self.world_size,
            num_workers=self.workers,
            seed_offset=config.seed,
        )
        dataset = Batches(
            RepeatDataset(
                EpochBuffer(
                    _places(self.pictures, worker_config), BUFFER, worker_config=worker_config
                ),
                worker_config=worker_config,
            ),
            self.pictures,
            self.part,
            worker_config=worker_config,
        )
        loader = get_savable_loader(
            dataset,
            checkpoint_every_sec=REMEMBER_SECONDS,
            gc_collect_every_n_steps=0,
            watchdog_timeout_seconds=None,
        )
        loader.pin_memory = torch.cuda.is_available()
        loader.worker_init_fn = partial(_begin_worker, loader.worker_init_fn)
        return loader


def _begin_worker(begin: Any, worker: int) -> None:
    ignore_signals(worker)
    begin(worker)


class _Places:
    """Stands for energon's tar reader: gives the place of a sample instead of its files."""

    def __getitem__(self, index: int) -> dict[str, str]:
        return {"__key__": str(index), "__shard__": ""}


def _places(pictures: ShardPictures, worker_config: WorkerConfig) -> Any:
    """The samples' places in energon's order: a part for each stream, shuffled by slices."""
    slices = Sharder.shard_workers(pictures.shards, worker_config, max_samples_per_sequence=SLICE)
    return WebdatasetSampleLoaderDataset(
        join_readers=[_Places()],  # type: ignore[list-item]  # only its __getitem__ is used
        workers_sample_slice_offsets=slices,
        worker_config=worker_config,
        shuffle_over_epochs=1,
        parallel_slice_iters=SLICES_AT_ONCE,
    )


class EpochBuffer(ShuffleBufferDataset[Any]):
    """A shuffle buffer that runs empty at the end of an epoch, also across a resume.

    energon's own begins the next epoch when it is resumed while it runs empty, so that samples of
    two epochs would be mixed.
    """

    _savable_fields = ("_active_buffer", "_worker_rng", "_draining")

    def reset_state_own(self) -> None:
        """Begins anew."""
        super().reset_state_own()
        self._draining = False
        """All of the epoch is in the buffer, or was given already."""

    def __iter__(self) -> Iterator[Any]:
        held = self._active_buffer
        held.worker_start()
        if not self._draining:
            for _ in held.append_iter():
                if held.len_worker() >= self.size:
                    yield self._any()
            self._draining = True
        while held.len_worker():
            yield self._any()
        self._draining = False

    def _any(self) -> Any:
        held = self._active_buffer
        return held.pop(self._worker_rng.randbelow(held.len_worker()))


class Batches(BaseWrapperDataset[Any, dict[str, Any]]):
    """Reads, decodes and collates what a stream gives; what cannot be used is passed over.

    A batch carries its own faults, so that they are counted when it is used and not when it is
    loaded ahead, and a resume counts the same.
    """

    _savable_fields = ("_taken", "_repeated")

    def __init__(
        self,
        places: Any,
        pictures: ShardPictures,
        size: int,
        *,
        worker_config: WorkerConfig,
    ) -> None:
        super().__init__(places, worker_config=worker_config)
        self.pictures, self.size = pictures, size
        self.reset_state_own()

    def reset_state_own(self) -> None:
        """Begins anew."""
        self._taken = 0
        """Samples that could be used so far."""
        self._repeated = 0
        """How many were used before the state that this one resumes from was noted."""

    def len_worker(self, worker_idx: int | None = None) -> int:
        """Batches an epoch."""
        return self.dataset.len_worker(worker_idx) // self.size

    def config(self) -> dict[str, Any]:
        """What energon asks of every data set."""
        return {"type": type(self).__qualname__, "size": self.size}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        workers = max(1, self.worker_config.num_workers)
        stream = self.worker_config.rank * workers + self.worker_config.rank_worker_id()
        streams = self.worker_config.world_size * workers
        batch: list[dict[str, Any]] = []
        faults: list[Unusable] = []
        for place in self.dataset:
            position = self._taken * streams + stream
            try:
                sample = self.pictures.load(place.__restore_key__[1], position)
            except Unusable as fault:
                faults.append(fault)
                if len(faults) == MOST_IN_A_ROW:
                    yield {"broken": _broken(faults)}
                continue
            self._taken += 1
            if self._repeated:
                self._repeated -= 1
            else:
                batch.append({**sample, **told(faults)})
            faults = []
            if len(batch) == self.size:
                yield default_collate(batch)
                batch = []


def _broken(faults: list[Unusable]) -> str:
    why = list_faults(Counter((fault.place, fault.reason) for fault in faults))
    return f"none of {len(faults)} samples in a row can be used: {why}; look at these shards"


def _from_loader(saved: Any, part: int) -> FlexState:
    """Takes the state of `Batches` out of what energon saves of a stream.

    A loading process notes its state now and then; `offset` batches were used since. Counted in
    samples instead, they fit parts of any size.
    """
    if not isinstance(saved, SavableDatasetCheckpoint):
        return saved["datasets"][0]["datasets"][0]  # no loading process: nothing is ahead
    assert saved.state is not None, "a stream notes its state before its first batch"
    ours = FlexState(saved.state.dataset_state["datasets"][0])
    ours["_repeated"] += saved.offset * part
    return ours


def _for_loader(state: RankState, workers: int) -> SavableDataLoaderState:
    """Wraps the states of streams as energon has them, with loading processes or without."""
    watched = [FlexState(__class__="WatchdogDataset", datasets=[ours]) for ours in state.streams]
    saved: list[Any] = [
        SavableDatasetCheckpoint(
            # Nothing in a stream draws from Python's or torch's own generators.
            state=SavableDatasetState(
                rng=None,  # type: ignore[arg-type]  # energon then seeds them anew
                dataset_state=stream,
                sample_index=0,
            ),
            offset=0,
        )
        for stream in watched
    ]
    if workers == 0:
        name = "SimpleSavableDatasetWrapper"
        saved = [FlexState(__class__=name, datasets=watched, _sample_index=0)]
    return SavableDataLoaderState(
        worker_states=saved, next_worker_id=state.next_stream, micro_batch_size=None
    )
