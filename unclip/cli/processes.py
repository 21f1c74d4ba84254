"""Several processes of one launch: `accelerate launch -m unclip generate --prompts FILE`.

Every launcher tells a process in its environment which one it is. Pictures are dealt out one by
one; what must be the same everywhere (a drawn seed) is the first process's, which alone prints.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from unclip.cli.report import Report, describe, exit_code
from unclip.errors import ConfigError, UnCLIPError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process's place among those that share a request."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this one prints."""
        return self.rank == 0

    def share_of(self, count: int) -> list[int]:
        """Which of `count` pictures are this process's."""
        return list(range(self.rank, count, self.world))


def this_process() -> Processes:
    """Reads RANK, WORLD_SIZE and LOCAL_RANK.

    Raises:
        ConfigError: they are set and make no sense.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    values = [os.environ.get(name, default) for name, default in zip(names, "010", strict=True)]
    if not all(value.isdecimal() for value in values):
        raise ConfigError(f"{', '.join(names)} are {', '.join(values)}, expected numbers")
    rank, world, local_rank = map(int, values)
    if rank >= world:
        raise ConfigError(f"RANK is {rank} of WORLD_SIZE {world}: start all with accelerate launch")
    return Processes(rank, world, local_rank)


def together(processes: Processes, report: Report, work: Callable[[], None]) -> None:
    """Runs a process's share; the first one learns of all pictures, and of another's failure.

    Raises:
        UnCLIPError: another process failed, in the first one.
    """
    failure: Exception | None = None
    try:
        work()
    except Exception as error:
        # The others wait for this one's answer, whatever it is.
        failure = error
    told = None if failure is None else (describe(failure), exit_code(failure))
    answers = _gather(processes, (report.result.get("pictures", []), told))
    pictures = [picture for done, _ in answers for picture in done]
    report.result["pictures"] = sorted(pictures, key=lambda picture: picture["index"])
    if failure := failure or _first_failure([other for _, other in answers]):
        raise failure


def shares(processes: Processes, work: Callable[[], T]) -> list[T]:
    """Runs a process's share; the first one gets all results in the order of ranks, others none.

    Raises:
        UnCLIPError: another process failed; in all of them, so that none goes on to wait for it.
    """
    if processes.world == 1:
        return [work()]
    from torch import distributed

    failure: Exception | None = None
    result: Any = None
    try:
        result = work()
    except Exception as error:
        # The others wait for this one's answer, whatever it is.
        failure = error
    told: list[Any] = [None] * processes.world
    mine = None if failure is None else (describe(failure), exit_code(failure))
    distributed.all_gather_object(told, mine)
    if failure := failure or _first_failure(told):
        raise failure
    results: list[Any] | None = [None] * processes.world if processes.first else None
    distributed.gather_object(result, results, dst=0)
    return results or []


def _first_failure(told: list[tuple[str, int] | None]) -> UnCLIPError | None:
    """What is to be raised for the first process that failed, if any did."""
    for rank, other in enumerate(told):
        if other is not None:
            error = UnCLIPError(f"process {rank} failed: {other[0]}")
            error.exit_code = other[1]
            return error
    return None


@contextmanager
def joined(processes: Processes) -> Iterator[None]:
    """Connects the processes while the block runs.

    Raises:
        ConfigError: the launcher has not said where they meet.
    """
    if processes.world == 1:
        yield
        return
    from torch import distributed

    if not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise ConfigError("WORLD_SIZE is set without MASTER_ADDR: start with accelerate launch")
    # Some processes may be done long before others.
    distributed.init_process_group("gloo", timeout=timedelta(days=1))
    try:
        yield
    finally:
        distributed.destroy_process_group()


def from_first(processes: Processes, value: Any) -> Any:
    """Returns the first process's value, in all of them."""
    if processes.world == 1:
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def _gather(processes: Processes, value: Any) -> list[Any]:
    """Returns every process's value in the first one, and this one's own elsewhere."""
    if processes.world == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * processes.world
    distributed.all_gather_object(values, value)
    return values if processes.first else [value]
