"""Who is missing: when a process waits in vain for others, it says which of them and why.

A process that ends by an error leaves a word in the launcher's key-value store. Whoever then finds
a collective broken calls the roll: those that neither left a word nor answer were killed, or hang.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[reportPrivateImportUsage]  # as documented

from unclip.errors import ProcessLostError, first_ten
from unclip.training.data import is_lost_loader, lost_loader
from unclip.training.world import Ranks

ANSWER_SECONDS = 3.0
"""All find a broken collective within this time of each other."""
POLL_SECONDS = 0.1
HERE = "here"


@contextmanager
def telling(ranks: Ranks) -> Iterator[None]:
    """Turns what ends one process into something that the others can say, and the other way round.

    Raises:
        DataError: a process that loads data was killed or hangs.
        ProcessLostError: another process of the run is gone.
    """
    try:
        yield
    except Exception as error:
        known = lost_loader(error) if is_lost_loader(error) else error
        if ranks.size > 1 and is_broken_collective(error):
            known = explain(ranks) or error
        elif ranks.size > 1:
            leave_word(ranks, " ".join(f"{type(known).__name__}: {known}".split()))
        if known is error:
            raise
        raise known from error


def is_broken_collective(error: Exception) -> bool:
    """Says whether an error is that of a message between processes."""
    # Gloo has no class of its own.
    is_gloo = isinstance(error, RuntimeError) and "gloo" in str(error)
    return is_gloo or isinstance(error, dist.DistError)


def leave_word(ranks: Ranks, why: str) -> None:
    """Tells the others why this process ends; where they cannot be told, they will ask in vain."""
    store = _store() if ranks.size > 1 else None
    if store is not None:
        store.set(_key(ranks.rank), why)


def explain(ranks: Ranks) -> ProcessLostError | None:
    """Says who is missing after a collective has failed; None where everybody answers."""
    store = _store()
    if store is None:
        return ProcessLostError(
            f"process {ranks.rank} of {ranks.size} cannot reach the first machine any more: start "
            "the same command again, it goes on from the newest checkpoint"
        )
    store.set(_key(ranks.rank), HERE)
    missing = set(range(ranks.size))
    until = time.monotonic() + ANSWER_SECONDS
    while missing and time.monotonic() < until:
        missing = {rank for rank in missing if not store.check([_key(rank)])}
        time.sleep(POLL_SECONDS)
    words = [(rank, _word(store, rank)) for rank in range(ranks.size) if rank not in missing]
    left = [f"process {rank} ended: {word}" for rank, word in words if word != HERE]
    gone = [f"process {rank} was killed or does not answer" for rank in sorted(missing)]
    if not left and not gone:
        return None
    return ProcessLostError(
        f"{first_ten(gone + left)} (seen by process {ranks.rank} of {ranks.size}): start the same "
        "command again, it goes on from the newest checkpoint"
    )


def _key(rank: int) -> str:
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return f"unclip/standing/{attempt}/{rank}"


def _word(store: TCPStore, rank: int) -> str:
    return store.get(_key(rank)).decode("utf-8", errors="replace")


def _store() -> TCPStore | None:
    """Connects to the store of the launch; None where its machine is gone."""
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if host is None or port is None:
        return None
    try:
        return TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=ANSWER_SECONDS))
    except RuntimeError:
        return None
