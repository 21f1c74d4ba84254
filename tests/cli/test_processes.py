"""Who makes which picture, by the environment that every launcher sets."""

import pytest

from unclip.cli.processes import Processes, from_first, joined, this_process, together
from unclip.cli.report import Report
from unclip.errors import ConfigError, InputError


def test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    alone = this_process()
    assert alone == Processes(0, 1, 0)
    assert alone.first
    assert alone.share_of(3) == [0, 1, 2]
    with joined(alone):
        assert from_first(alone, 5) == 5


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 24])
def test_every_picture_is_made_once(world: int, count: int) -> None:
    shares = [Processes(rank, world).share_of(count) for rank in range(world)]
    assert sorted(index for share in shares for index in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("rank", "world", "reason"),
    [("2", "2", "RANK is 2 of WORLD_SIZE 2"), ("a", "2", "numbers"), ("-1", "2", "numbers")],
)
def test_nonsense(monkeypatch: pytest.MonkeyPatch, rank: str, world: str, reason: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(ConfigError, match=reason):
        this_process()


def test_nowhere_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigError, match="start with accelerate launch"), joined(Processes(0, 2)):
        pass


def test_pictures_and_failures_are_told() -> None:
    report = Report("generate")

    def work() -> None:
        report.result |= {"pictures": [{"index": 1}, {"index": 0}]}
        raise InputError("x")

    with pytest.raises(InputError, match="x"):
        together(Processes(), report, work)
    assert report.result["pictures"] == [{"index": 0}, {"index": 1}]
