"""Reads shards with loading processes: `python stream_worker.py SHARDS resume|share_out`."""

import sys
from pathlib import Path

from unclip.data.samples import Whole
from unclip.data.shards.pictures import ShardPictures
from unclip.training import streams
from unclip.training.data import PositionBatches
from unclip.training.settings import TrainConfig
from unclip.training.streams import StreamSource

BATCH = 4
Ranks = list[StreamSource]
Steps = list[list[list[int]]]


def main(root: Path, what: str) -> None:
    streams.BUFFER, streams.SLICE, streams.SLICES_AT_ONCE = 6, 3, 2
    pictures = ShardPictures(root, Whole(8))
    {"resume": resume, "share_out": share_out}[what](pictures)
    print("all as expected")


def open_world(
    pictures: ShardPictures, size: int, workers: int, resume: list[bytes] | None = None
) -> Ranks:
    config = TrainConfig(steps=100, batch_size=BATCH, lr=0.1, num_workers=workers)
    batches = [PositionBatches(len(pictures), config, 0, rank, size) for rank in range(size)]
    return [StreamSource(pictures, batch, config, resume) for batch in batches]


def read(sources: Ranks, steps: int) -> Steps:
    return [[source.batch()["index"].tolist() for source in sources] for _ in range(steps)]


def end(sources: Ranks) -> list[bytes]:
    saved = [source.state() for source in sources]
    for source in sources:
        source.close()
    return [state for state in saved if state is not None]


def flat(steps: Steps) -> list[int]:
    return sorted(index for step in steps for batch in step for index in batch)


def resume(pictures: ShardPictures) -> None:
    epoch = len(pictures) // BATCH
    for size, workers, stops in ((1, 1, (3,)), (2, 1, (epoch - 1,)), (1, 2, (3, epoch + 1))):
        whole_world = open_world(pictures, size, workers)
        whole = read(whole_world, 2 * epoch)
        end(whole_world)
        assert flat(whole[:epoch]) == flat(whole[epoch:]) == list(range(len(pictures)))
        for stop in stops:
            first = open_world(pictures, size, workers)
            assert read(first, stop) == whole[:stop]
            saved = end(first)
            again = open_world(pictures, size, workers, saved)
            waiting = [source.state() for source in again]
            assert waiting == saved, "nothing is lost before the first batch"
            assert read(again, 2 * epoch - stop) == whole[stop:], (size, workers, stop)
            end(again)


def share_out(pictures: ShardPictures) -> None:
    everything, epoch = list(range(len(pictures))), len(pictures) // BATCH
    for workers in (0, 1):
        two = open_world(pictures, 2, workers)
        before = read(two, 4)
        one = open_world(pictures, 1, workers, end(two))
        assert f"2 loading processes here, not train.num_workers {workers}" in one[0].notes[0]
        assert flat(before + read(one, epoch - 4)) == everything

        # And back within the next epoch. A part is half as large then.
        before = read(one, 2)
        two = open_world(pictures, 2, workers, end(one))
        assert not two[0].notes
        assert flat(before + read(two, epoch - 2)) == everything
        end(two)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
