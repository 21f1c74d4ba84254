"""The state of energon's streams as JSON, and its sharing out over another number of processes.

A stream is what one loading process reads; their number is fixed when a run begins. energon keeps
its states as Python objects and would pickle them, and its `checkpoint redist` unpickles them
again. Here they are written as JSON, of the few kinds of values that occur in them, and nothing
else is ever read; sharing them out anew follows the same rule as `redist`: all streams in order,
equally many to each process.
"""

import base64
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from megatron.energon.flavors.webdataset.sample_loader import SliceState
from megatron.energon.state import FlexState

from unclip.errors import DataError
from unclip.training.sources import Faults

FORMAT = 1


@dataclass
class RankState:
    """Where the streams of one process stand."""

    shards: str
    """Fingerprint of the shards."""
    first: int
    """Number of its first stream, among those of all processes."""
    streams: list[Any]
    """energon's state of each, in order."""
    next_stream: int = 0
    """The one, of its own, whose batch comes next."""
    faults: Faults = field(default_factory=Counter)
    """What was skipped so far."""

    def dump(self) -> bytes:
        """Writes it as JSON."""
        about = {
            "format": FORMAT,
            "shards": self.shards,
            "first": self.first,
            "next": self.next_stream,
            "faults": [[*key, count] for key, count in sorted(self.faults.items())],
            "streams": [_encode(state) for state in self.streams],
        }
        return json.dumps(about, separators=(",", ":")).encode()


def load(content: bytes) -> RankState:
    """Reads what `dump` wrote.

    Raises:
        DataError: it is something else.
    """
    try:
        about = json.loads(content)
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}")
        return RankState(
            shards=str(about["shards"]),
            first=int(about["first"]),
            streams=[_decode(state) for state in about["streams"]],
            next_stream=int(about["next"]),
            faults=Counter({(str(at), str(why)): int(n) for at, why, n in about["faults"]}),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the checkpoint's state of the data cannot be read ({error!r}), expected format "
            f"{FORMAT}: resume from an older checkpoint"
        ) from error


def share_out(before: Sequence[RankState], rank: int, world_size: int) -> RankState:
    """Gives a process its streams of an earlier world.

    Where the number of processes is the same it gets its own state back.

    Raises:
        DataError: a process's state is missing, or the streams do not divide over the processes.
    """
    before = sorted(before, key=lambda state: state.first)
    streams = [stream for state in before for stream in state.streams]
    starts = [sum(len(s.streams) for s in before[:place]) for place in range(len(before))]
    if [state.first for state in before] != starts:
        raise DataError(
            f"the checkpoint has the data's state of {len(before)} processes, and not of all: "
            "resume from another one"
        )
    if len(streams) % world_size:
        fits = [str(n) for n in range(1, len(streams) + 1) if len(streams) % n == 0]
        raise DataError(
            f"this run reads its shards as {len(streams)} streams, which cannot be shared out over "
            f"{world_size} processes: choose {', '.join(fits)}"
        )
    if world_size == len(before):
        return before[rank]
    each = len(streams) // world_size
    faults = sum((state.faults for state in before), Counter()) if rank == 0 else Counter()
    mine = streams[rank * each : (rank + 1) * each]
    return RankState(before[0].shards, rank * each, mine, faults=faults)


def _encode(value: Any) -> Any:
    """Writes a value so that JSON keeps its type."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, SliceState):
        return {"slice": [value.index, value.current]}
    if isinstance(value, dict):
        return {"state": {str(key): _encode(item) for key, item in value.items()}}
    raise TypeError(f"energon's state holds a {type(value).__name__}, which is not known")


def _decode(value: Any) -> Any:
    """Reads what `_encode` wrote."""
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(_decode(item) for item in content)
    if kind == "bytes":
        return base64.b64decode(content)
    if kind == "slice":
        index, current = content
        return SliceState(index=int(index), current=int(current))
    if kind == "state":
        return FlexState({key: _decode(item) for key, item in content.items()})
    raise ValueError(f"a value of the kind {kind!r}")
