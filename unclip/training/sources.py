"""Where the loop's batches come from: a map of samples without state, or streams of shards with it.

A folder, scenes and embeddings are maps: the order is a function of the step (`data.py`), so there
is nothing to save. Shards are streams of energon (`streams.py`), whose place and shuffle buffer
every process saves beside the checkpoint.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from unclip.data.shards.pictures import ShardPictures
from unclip.errors import first_ten
from unclip.training.data import MapDataset, Patience, PositionBatches, make_loader
from unclip.training.settings import TrainConfig

Faults = Counter[tuple[str, str]]
"""Records that were passed over, by shard or folder and reason."""


@runtime_checkable
class DataSource(Protocol):
    """The batches of one process, part after part."""

    notes: list[str]
    """What the user should know of it, a line each."""
    faults: Faults
    """What this process passed over so far."""

    def batch(self) -> dict[str, Any]:
        """The next part of a step, collated."""
        ...

    def state(self) -> bytes | None:
        """Where this process's data stand after the last batch; None where the step says it all."""
        ...

    def close(self) -> None:
        """Ends what loads."""


class MapSource:
    """Batches of a map, in the stateless order."""

    def __init__(self, dataset: MapDataset, batches: PositionBatches, config: TrainConfig) -> None:
        loader = make_loader(dataset, batches, config.num_workers)
        self._samples = Patience(iter(loader), config.timeout_seconds, config.num_workers)
        self.notes: list[str] = []
        self.faults: Faults = Counter()

    def batch(self) -> dict[str, Any]:
        """The next part of a step."""
        batch = self._samples.next()
        count_faults(self.faults, batch)
        return batch

    def state(self) -> bytes | None:
        """Nothing: the order is a function of the step."""
        return None

    def close(self) -> None:
        """Lets the loader's processes end."""
        self._samples.close()


def count_faults(faults: Faults, batch: dict[str, Any]) -> None:
    """Counts what a batch says was passed over for it."""
    for lines in batch.get("faults", ()):
        for line in lines.splitlines():
            place, _, reason = line.rpartition(": ")
            faults[place, reason] += 1


def list_faults(faults: Faults) -> str:
    """Says the most frequent faults in one line."""
    found = [f"{place}: {n} x {reason}" for (place, reason), n in faults.most_common()]
    return first_ten(found)


def open_source(
    dataset: MapDataset,
    batches: PositionBatches,
    config: TrainConfig,
    resume: Sequence[bytes] | None,
) -> DataSource:
    """Opens a data set as the batches of one process.

    Args:
        batches: say which process this is, and of how many samples a part of a step consists.
        resume: what `state` gave in every process when the checkpoint was written, by rank; the
            number of processes may have been another.

    Raises:
        DataError: the states do not fit the data or the number of processes.
    """
    if not isinstance(dataset, ShardPictures):
        return MapSource(dataset, batches, config)
    from unclip.training.streams import StreamSource  # imports energon

    return StreamSource(dataset, batches, config, resume)
