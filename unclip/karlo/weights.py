"""Karlo's weights in whatever file they are: names, types and shapes first, the numbers when asked.

- `NAME.safetensors`: safetensors.
- `NAME.safetensors.index.json`: safetensors in several files beside it, as diffusers splits them.
- `NAME.bin`, `.ckpt`, `.pt`, `.th`: PyTorch's zip files, by our own reader (`archive.py`).
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unclip.checkpoint import check_fit
from unclip.errors import CheckpointError, first_ten, shown
from unclip.karlo.archive import open_archive
from unclip.karlo.opened import LazyTensor
from unclip.mapped import MAX_TENSORS, MappedFile, TensorRef
from unclip.safetensors_file import MAX_HEADER_BYTES, no_doubles, open_safetensors

SAFETENSORS = ".safetensors"
INDEX = ".safetensors.index.json"
ARCHIVES = (".bin", ".ckpt", ".pt", ".th")
MAX_SHARDS = 1000


def open_tensors(path: str | Path) -> dict[str, TensorRef]:
    """Opens a file of weights; nothing of a tensor is read before its `load()`.

    Raises:
        CheckpointError: it is missing, damaged, of none of the kinds above, or asks for anything
            but tensors.
    """
    path = Path(path)
    if path.name.endswith(INDEX):
        return _open_shards(path)
    if path.suffix == SAFETENSORS:
        return open_safetensors(path)
    if path.suffix in ARCHIVES:
        return open_archive(path)
    known = ", ".join((SAFETENSORS, INDEX, *ARCHIVES))
    raise CheckpointError(f"{path} is no file of weights: expected a name that ends in {known}")


def below(refs: Mapping[str, TensorRef], prefix: str) -> dict[str, TensorRef]:
    """The tensors whose names begin with `prefix` ("state_dict.model.", say), without it."""
    return {name.removeprefix(prefix): ref for name, ref in refs.items() if name.startswith(prefix)}


def check_refs(
    refs: Mapping[str, LazyTensor],
    wanted: Mapping[str, Tensor],
    where: str | Path,
    *,
    ignored: Collection[str] = (),
) -> None:
    """Compares what a file holds with what is wanted, before anything is read or allocated.

    Args:
        wanted: tensors of the wanted names, shapes and kinds: the `state_dict()` of a module made
            on the meta device.
        ignored: names that may be there and are not wanted (buffers of other versions, say).

    Raises:
        CheckpointError: a tensor is missing, extra, misshapen or of another kind (whole numbers
            instead of floating-point ones); the first ten are listed and the rest counted.
    """
    regarded = {name: ref for name, ref in refs.items() if name in wanted or name not in ignored}
    check_fit(regarded, wanted, str(where))


def _open_shards(index: Path) -> dict[str, TensorRef]:
    """Opens all the files that an index names; each must hold just what the index says."""
    names = _read_index(index)
    shards: dict[str, set[str]] = {}
    for name, shard in names.items():
        shards.setdefault(shard, set()).add(name)
    if len(shards) > MAX_SHARDS:
        raise CheckpointError(f"{index} names {len(shards)} files, at most {MAX_SHARDS}")
    found: dict[str, TensorRef] = {}
    for shard, said in shards.items():
        refs = open_safetensors(index.with_name(shard))
        problems = [f"missing {shown(name)}" for name in sorted(said - refs.keys())]
        problems += [f"unknown {shown(name)}" for name in refs if name not in said]
        if problems:
            raise CheckpointError(
                f"{index.with_name(shard)} does not hold what {index.name} says: "
                f"{first_ten(problems)}"
            )
        found |= refs
    return {name: found[name] for name in names}


def _read_index(index: Path) -> dict[str, str]:
    """Which file beside the index each tensor is in."""
    file = MappedFile(index)
    if len(file) > MAX_HEADER_BYTES:
        raise CheckpointError(f"{index} has {len(file)} bytes, at most {MAX_HEADER_BYTES}")
    try:
        about: Any = json.loads(file.read(0, len(file)), object_pairs_hook=no_doubles)
        names = about["weight_map"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index} is no index of weights: {error!r}") from error
    if not isinstance(names, dict) or not names or len(names) > MAX_TENSORS:
        raise CheckpointError(f"{index} names no tensors, or more than {MAX_TENSORS}")
    for name, shard in names.items():
        if not _is_beside(shard):
            raise CheckpointError(
                f"{index} puts {shown(name)} into {shown(shard)}, expected the name of a "
                f"{SAFETENSORS} file beside it"
            )
    return names


def _is_beside(shard: object) -> bool:
    """Whether something is a plain file name, on any operating system."""
    return (
        isinstance(shard, str)
        and shard.endswith(SAFETENSORS)
        and shard.isprintable()
        and not set("/\\:") & set(shard)
    )
