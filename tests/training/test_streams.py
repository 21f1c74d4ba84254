"""Shards as the loop reads them: once an epoch, resumed exactly, shared out; faults counted."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from shard_sets import good, make_bad, make_shards, write_tar

from unclip.data.samples import Whole
from unclip.data.shards.index import write_index
from unclip.data.shards.pictures import ShardPictures
from unclip.errors import DataError
from unclip.training import streams
from unclip.training.data import PositionBatches
from unclip.training.settings import TrainConfig
from unclip.training.streams import StreamSource

SHARDS, PER_SHARD, BATCH = 4, 8, 4
NUM = SHARDS * PER_SHARD
EPOCH = NUM // BATCH


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    # So small that an epoch fills it, and slices so short that a shard has several.
    monkeypatch.setattr(streams, "BUFFER", 6)
    monkeypatch.setattr(streams, "SLICE", 3)
    monkeypatch.setattr(streams, "SLICES_AT_ONCE", 2)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_shards(tmp_path_factory.mktemp("shards"), SHARDS, PER_SHARD)
    write_index(root)
    return root


Ranks = list[StreamSource]


@pytest.fixture
def world(shards: Path) -> Iterator[Any]:
    """`world(2, workers=1, resume=states)` opens the sources of all ranks in this process."""
    opened: Ranks = []

    def open_world(
        size: int, *, workers: int = 0, resume: list[bytes] | None = None, root: Path = shards
    ) -> Ranks:
        config = TrainConfig(
            steps=100, batch_size=BATCH, lr=0.1, num_workers=workers, precision="float32"
        )
        pictures = ShardPictures(root, Whole(8), seed=5)
        sources = [
            StreamSource(
                pictures, PositionBatches(len(pictures), config, 0, rank, size), config, resume
            )
            for rank in range(size)
        ]
        opened.extend(sources)
        return sources

    yield open_world
    close(opened)


def read(sources: Ranks, steps: int) -> list[list[dict[str, Any]]]:
    """The batches of some steps, by step and rank."""
    return [[source.batch() for source in sources] for _ in range(steps)]


def close(sources: Ranks) -> None:
    for source in sources:
        source.close()


def indices(steps: list[list[dict[str, Any]]]) -> list[int]:
    return [i for step in steps for batch in step for i in batch["index"].tolist()]


def states(sources: Ranks) -> list[bytes]:
    saved = [source.state() for source in sources]
    assert all(state is not None for state in saved)
    return [state for state in saved if state is not None]


def same(first: list[list[dict[str, Any]]], second: list[list[dict[str, Any]]]) -> bool:
    pairs = [
        (a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    return all(
        torch.equal(a["image"], b["image"])
        and a["caption"] == b["caption"]
        and torch.equal(a["index"], b["index"])
        for a, b in pairs
    )


@pytest.mark.parametrize("size", [1, 2])
def test_an_epoch_has_every_sample_once_and_resumes_anywhere(world: Any, size: int) -> None:
    sources = world(size)
    first, second = read(sources, EPOCH), read(sources, EPOCH)
    close(sources)
    for epoch in (first, second):
        assert sorted(indices(epoch)) == list(range(NUM))
    assert indices(first) != indices(second)
    assert indices(first) != list(range(NUM))
    batch = first[0][0]
    assert batch["image"].shape == (BATCH // size, 3, 8, 8)
    assert batch["caption"] == [f"picture {i}" for i in batch["index"].tolist()]

    # Within an epoch, while the buffer runs empty, at its end, and in the second.
    whole = first + second
    for stop in (1, 3, EPOCH - 1, EPOCH, EPOCH + 2):
        again = world(size)
        read(again, stop)
        saved = states(again)
        resumed = world(size, resume=saved)
        assert states(resumed) == saved, "nothing is lost before the first batch"
        assert same(read(resumed, len(whole) - stop), whole[stop:]), stop


@pytest.mark.slow
@pytest.mark.parametrize("what", ["resume", "share_out"])
def test_loading_processes(shards: Path, what: str) -> None:
    # In a fresh process: forking one that has imported as much as a test has takes seconds.
    script = Path(__file__).with_name("stream_worker.py")
    done = subprocess.run(
        [sys.executable, str(script), str(shards), what],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all as expected"


def test_what_cannot_be_shared_out_is_refused(world: Any) -> None:
    two = world(2)
    read(two, 1)
    saved = states(two)
    with pytest.raises(DataError, match=r"as 2 streams, .* over 4 processes: choose 1, 2"):
        world(4, resume=saved)
    with pytest.raises(DataError, match="the data's state of 1 processes, and not of all"):
        world(2, resume=saved[1:])


def test_a_state_is_read_only_if_it_is_one(world: Any, shards: Path, tmp_path: Path) -> None:
    sources = world(1)
    read(sources, 2)
    saved = sources[0].state()
    assert saved is not None
    about = json.loads(saved)
    for spoil in (
        {"format": 2},
        {"streams": [{"pickle": "gASVIgAAAA=="}]},
        {"streams": [{"slice": [1, 2, 3]}]},
        {"faults": 3},
    ):
        with pytest.raises(DataError, match="state of the data cannot be read") as caught:
            world(1, resume=[json.dumps({**about, **spoil}).encode()])
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        world(1, resume=[b"\x80\x04."])
    other = make_shards(tmp_path / "other", 2, 8)
    write_index(other)
    with pytest.raises(DataError, match="holds other shards than this run began with"):
        world(1, resume=[saved], root=other)
    with pytest.raises(DataError, match="has 16 samples, fewer than the 17 processes"):
        world(1, workers=17, root=other)


def test_bad_samples_are_passed_over_and_counted(world: Any, tmp_path: Path) -> None:
    root = tmp_path / "bad"
    make_shards(root)
    faults = make_bad(root)
    indexed = write_index(root)
    assert indexed.cut_off == ["00003.tar after 6 samples"]
    sources = world(1, root=root)
    whole = read(sources, 12)
    state = sources[0].state()
    expected = Counter(faults)
    usable = sorted(set(indices(whole)))
    assert len(usable) == indexed.samples - sum(expected.values())
    # Two epochs or a little less were read: every fault once or twice.
    counted = sources[0].faults
    assert counted.keys() == expected.keys()
    assert all(counted[key] in (expected[key], 2 * expected[key]) for key in expected)
    assert sum(int(batch["skipped"].sum()) for step in whole for batch in step) == sum(
        counted.values()
    )

    # The same are passed over after a resume, and the counts go on.
    again = world(1, root=root)
    begun = read(again, 5)
    resumed = world(1, root=root, resume=states(again))
    assert same(begun + read(resumed, 7), whole)
    assert resumed[0].faults == counted
    assert resumed[0].state() == state


def test_nothing_but_bad_samples_ends(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "bad"
    root.mkdir()
    write_tar(root / "00000.tar", {f"{n}": {**good(n), "jpg": b"<html>"} for n in range(8)})
    write_index(root)
    monkeypatch.setattr(streams, "MOST_IN_A_ROW", 20)
    with pytest.raises(DataError, match=r"none of 20 .*00000\.tar: 20 x no PNG, JPEG or WebP"):
        world(1, root=root)[0].batch()
