"""A run's checkpoints: complete, committed by a rename, verified before use, pruned last.

A checkpoint is a folder `step_00001000` with a safetensors shard of each process (weights, average
and optimiser), `state.json`, and a manifest of SHA-256 sums. It is written by any number of
processes and read by any other. Randomness and data order need no state: they are functions of the
step. A checkpoint that was carried from another machine (`carry.py`) has no optimiser; it goes on
with a fresh one.
"""

import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unclip.checkpoint import check_fit, manifest_files, verify_file, verify_folder
from unclip.errors import CheckpointError
from unclip.training.progress import Progress, TrainState
from unclip.training.saving import (
    STATE,
    Job,
    Snapshot,
    check_room,
    commit,
    data_name,
    discard,
    write_part,
)
from unclip.training.shards import ShardReader
from unclip.training.tensors import OPTIMIZER, own_pieces, total_bytes, train_tensors
from unclip.training.version import code_version
from unclip.training.world import Ranks

NAME = re.compile(r"step_(\d{8,})")
ASIDE = ".aside"


class Saving:
    """The one checkpoint that is being made."""

    def __init__(self, folder: Path, place: Path, record: Mapping[str, Any], job: Job) -> None:
        self.folder, self.place, self.record, self.job = folder, place, record, job
        self.is_committing = False


class Checkpoints:
    """The checkpoints of one run, in one folder; all its processes call the same methods."""

    def __init__(
        self, root: Path, keep: int, about: Mapping[str, Any], ranks: Ranks | None = None
    ) -> None:
        self.root, self.keep, self.ranks = root, keep, ranks or Ranks()
        self.about = {**code_version(), **about}
        self.newest_step = -1
        """Of the checkpoint last read or written."""
        self.resumed_step = -1
        """Of the one this run goes on from, which is never pruned."""
        self.data: list[bytes] = []
        """Where the data of each process stood in the checkpoint that was read."""
        self._saving: Saving | None = None
        self._snapshot = Snapshot()
        self._token = self.ranks.shared_number()

    def check_room(self, state: TrainState) -> None:
        """Compares what a checkpoint takes with what the disk has left.

        Raises:
            CheckpointError: it is too little.
        """
        check_room(self.root, total_bytes(train_tensors(state)))

    def save(self, state: TrainState, data: bytes | None = None) -> None:
        """Writes a checkpoint, then removes older ones beyond `keep` whole ones.

        Args:
            data: where this process's data stand, if the step does not tell.

        Raises:
            CheckpointError: it could not be written (a full disk, say); the older ones stay.
        """
        self.wait()
        if state.progress.step == self.newest_step:
            return
        self.begin(state, data)
        error = self.wait()
        if error is not None:
            raise error

    def begin(self, state: TrainState, data: bytes | None = None) -> CheckpointError | None:
        """Copies the state and begins to write it, once the one before it is written; returns why
        that one could not be, if so."""
        error = self.wait()
        step, tensors = state.progress.step, train_tensors(state)
        pieces = self._snapshot.take(own_pieces(tensors, self.ranks.rank, self.ranks.size))
        folder = self.root / f"step_{step:08d}"
        place = folder.with_name(f"{folder.name}.tmp-{self._token:08x}")
        rank, total = self.ranks.rank, total_bytes(tensors)
        record = {**asdict(state.progress), **self.about}
        job = Job(lambda: write_part(place, rank, pieces, data, total))
        self._saving = Saving(folder, place, record, job)
        return error

    def standing(self) -> tuple[bool, bool]:
        """Whether this process has done its part, and whether it failed; the sums of both over the
        processes are for `proceed`."""
        if self._saving is None or not self._saving.job.is_done():
            return False, False
        return True, self._saving.job.error is not None

    def proceed(self, done: int, failed: int) -> CheckpointError | None:
        """Goes on with what is being written, given how many processes have done their part and how
        many failed; returns why there is no checkpoint, if so."""
        saving = self._saving
        if saving is None or done < self.ranks.size:
            return None
        if failed:
            self._saving = None
            if self.ranks.rank == 0:
                discard(saving.place)
            return self._reason(saving)
        if not saving.is_committing:
            saving.is_committing = True
            is_first = self.ranks.rank == 0
            saving.job = Job(lambda: self._commit(saving) if is_first else None)
            return None
        self._saving, self.newest_step = None, saving.record["step"]
        return None

    def wait(self) -> CheckpointError | None:
        """Waits for what is being written; returns why there is no checkpoint, if so."""
        error = None
        while self._saving is not None:
            self._saving.job.wait()
            done, failed = self.ranks.total(*self.standing())
            error = self.proceed(done, failed)
        return error

    def _reason(self, saving: Saving) -> CheckpointError:
        error = saving.job.error
        if isinstance(error, CheckpointError):
            return error
        if isinstance(error, OSError):
            return CheckpointError(f"cannot write {saving.folder}: {error.strerror or error}")
        if error is not None:
            raise error
        return CheckpointError(f"cannot write {saving.folder}: another process could not")

    def _commit(self, saving: Saving) -> None:
        commit(saving.place, saving.folder, self.ranks.size, saving.record)
        self._prune(saving.record["step"])

    def _prune(self, newest: int) -> None:
        """Removes what is older than the `keep` newest whole ones; damaged ones do not count."""
        whole = 0
        for folder in reversed(checkpoint_folders(self.root)):
            if whole >= self.keep and step_of(folder) != self.resumed_step:
                shutil.rmtree(folder, ignore_errors=True)
            elif step_of(folder) == newest or _is_whole(folder):
                whole += 1

    def load_newest(self, state: TrainState) -> str | None:
        """Restores the newest checkpoint that is whole, and says which; None where there is none,
        and the state is left alone.

        A damaged one is named on stderr and passed over.

        Raises:
            CheckpointError: there are checkpoints but none is whole, or it fits another model, or
                it was trained on other companions (another CLIP) than are there now.
        """
        steps = [step_of(folder) for folder in checkpoint_folders(self.root)]
        (count,) = self.ranks.total(len(steps) if self.ranks.rank == 0 else 0)
        for index in range(count):
            # The first process's list counts: others may see the folder later.
            (step,) = self.ranks.total(steps[-1 - index] if self.ranks.rank == 0 else 0)
            error = self._damage(step)
            if error is None:
                which = "newest whole one" if index else "newest one"
                return self._restore(step, state, f", the {which}")
            if str(error):
                print(f"warning: {error}; trying the one before it", file=sys.stderr, flush=True)
        if count:
            raise CheckpointError(
                f"none of the {count} checkpoints in {self.root} is whole: restore one, or "
                "move the folder away to start again"
            )
        return None

    def load_step(self, state: TrainState, step: int) -> str:
        """Restores the checkpoint of a step; later ones are set aside, where no resume finds them.

        Raises:
            CheckpointError: it is not there, damaged, or does not fit.
        """
        steps = [step_of(folder) for folder in checkpoint_folders(self.root)]
        if sum(self.ranks.total(step not in steps)):
            there = ", ".join(str(each) for each in steps) or "none"
            raise CheckpointError(f"{self.root} has no checkpoint of step {step}, but of: {there}")
        error = self._damage(step)
        if error is not None:
            raise CheckpointError(
                f"{error or 'another process found it damaged'}; leave --resume out for the newest "
                "whole one"
            )
        said = self._restore(step, state, "")
        later = [folder for folder in checkpoint_folders(self.root) if step_of(folder) > step]
        self.ranks.total()
        if self.ranks.rank == 0:
            for folder in later:
                shutil.rmtree(folder.with_name(folder.name + ASIDE), ignore_errors=True)
                folder.rename(folder.with_name(folder.name + ASIDE))
        return said + "".join(f", {each.name} is set aside" for each in later)

    def _damage(self, step: int) -> CheckpointError | None:
        """Verifies a checkpoint, every process some of its files; an empty error is another's."""
        folder, error = self.root / f"step_{step:08d}", None
        try:
            files = manifest_files(folder)
            for name in sorted(files)[self.ranks.rank :: self.ranks.size]:
                verify_file(folder, name, files[name])
        except CheckpointError as found:
            error = found
        (damaged,) = self.ranks.total(error is not None)
        return error or (CheckpointError() if damaged else None)

    def _restore(self, step: int, state: TrainState, which: str) -> str:
        folder = self.root / f"step_{step:08d}"
        record = json.loads((folder / STATE).read_text(encoding="utf-8"))
        before, now = record.get("trained_on"), self.about.get("trained_on")
        if before != now:
            raise CheckpointError(
                f"{folder} was trained on {_names(before)}, now there is {_names(now)}: put the "
                "former back, or choose another --out"
            )
        files = manifest_files(folder)
        reader = ShardReader(folder, files)
        wanted, found = train_tensors(state), _described(reader)
        if not any(name.startswith(OPTIMIZER) for name in found):
            wanted = {n: tensor for n, tensor in wanted.items() if not n.startswith(OPTIMIZER)}
        check_fit(found, wanted, str(folder))
        # Copied in place, so that device, sharding and memory layout stay the run's own.
        reader.load_into(wanted)
        for field in fields(Progress):
            setattr(state.progress, field.name, record.get(field.name, 0))
        if not any(name.startswith(OPTIMIZER) for name in wanted):
            state.progress.warm_since = step
        self.data = [
            (folder / data_name(rank)).read_bytes()
            for rank in range(len(files))
            if data_name(rank) in files
        ]
        self.newest_step = self.resumed_step = step
        written = record.get("world_size", 1)
        others = f" (written by {written} process{'es' if written > 1 else ''})"
        said = f"resumed from {folder.name}{which}{others if written != self.ranks.size else ''}"
        for name in ("unclip", "torch"):
            if record.get(name) != self.about[name]:
                said += f", by {name} {record.get(name)}, which is {self.about[name]} now"
        return said


class Described(NamedTuple):
    """What is known of a tensor that was not read."""

    dtype: torch.dtype
    shape: torch.Size


def _described(reader: ShardReader) -> dict[str, Described]:
    return {
        name: Described(about.properties.dtype, about.size)
        for name, about in reader.tensors.items()
    }


def read_checkpoint(folder: Path, prefix: str) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint whose names begin so (`ema.`, say), whole, by the rest of
    their names.

    Raises:
        CheckpointError: it is not whole.
    """
    return ShardReader(folder, verify_folder(folder)).read_whole(prefix)


def checkpoint_folders(root: Path) -> list[Path]:
    """Lists the checkpoints in a folder, oldest first, whole or not."""
    return sorted((path for path in root.glob("step_*") if NAME.fullmatch(path.name)), key=step_of)


def newest_whole(root: Path) -> Path:
    """Returns the newest whole checkpoint of a folder.

    Raises:
        CheckpointError: there is none.
    """
    for folder in reversed(checkpoint_folders(root)):
        if _is_whole(folder):
            return folder
    raise CheckpointError(f"{root} has no whole checkpoint: train first")


def step_of(folder: Path) -> int:
    """The step of a checkpoint."""
    return int(folder.name.removeprefix("step_"))


def _is_whole(folder: Path) -> bool:
    try:
        verify_folder(folder)
    except CheckpointError:
        return False
    return True


def _names(companions: Mapping[str, str] | None) -> str:
    return (
        ", ".join(f"the {name} {fingerprint}" for name, fingerprint in (companions or {}).items())
        or "none"
    )
