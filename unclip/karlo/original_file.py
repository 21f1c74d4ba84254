"""The tensors of one network in one of Kakao's files, compared with what ours needs.

What a file says is taken for what it may be: nothing is built that a damaged or hostile file could
make large.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from unclip.errors import CheckpointError, ConfigError, shown
from unclip.karlo.archive import open_archive
from unclip.karlo.original_names import Place
from unclip.karlo.pieces import per_head, without_kernel
from unclip.karlo.weights import below, check_refs
from unclip.mapped import LazyTensor, TensorRef

HEAD_DIM = 64
"""Of every attention in Karlo and in OpenAI's CLIPs."""
MAX_SIZE = 100_000
MAX_NAMES = 2000
"""Karlo's longest axis is 49,408, and its largest network has 716 tensors."""


def open_state(path: Path) -> dict[str, TensorRef]:
    """Opens a checkpoint's tensors: those below `state_dict.` where there are such (an optimizer's,
    say, stand beside them).

    Raises:
        CheckpointError: the file is damaged, or holds something other than tensors.
    """
    refs = open_archive(path)
    return below(refs, "state_dict.") or refs


class OriginalFile:
    """One network's tensors: those of a file's `state` whose names begin with `prefix`.

    Raises:
        CheckpointError: there are none, or more or larger ones than Karlo's can be.
    """

    def __init__(self, path: Path, state: Mapping[str, TensorRef], prefix: str) -> None:
        found = below(state, prefix)
        if not found:
            names = ", ".join(shown(name) for name in list(state)[:3]) or "nothing"
            raise CheckpointError(
                f"{path} holds {names}, expected tensors {prefix}...: it is another file than its "
                "name says"
            )
        self.path = path
        self.refs = found
        self._check_sizes()

    def _check_sizes(self) -> None:
        if len(self.refs) > MAX_NAMES:
            raise CheckpointError(
                f"{self.path} does not fit Karlo: it has {len(self.refs)} tensors, at most "
                f"{MAX_NAMES} are read"
            )
        for name, ref in self.refs.items():
            repeats = zip(ref.shape, ref.stride, strict=True)
            if any(size > 1 and not step for size, step in repeats):
                raise CheckpointError(
                    f"{self.path} does not fit Karlo: {shown(name)} fills {ref.shape} by repeating "
                    "numbers"
                )
            if any(not 0 < size <= MAX_SIZE for size in ref.shape):
                raise CheckpointError(
                    f"{self.path} does not fit Karlo: {shown(name)} is {ref.shape}"
                )

    def size(self, name: str, axis: int) -> int:
        """How long a tensor is along an axis.

        Raises:
            CheckpointError: there is no such tensor or axis.
        """
        if name not in self.refs:
            raise CheckpointError(
                f"{self.path} does not fit Karlo: missing {name}, and {len(self.refs)} other "
                "tensors are there"
            )
        shape = self.refs[name].shape
        if axis >= len(shape):
            raise CheckpointError(f"{self.path} does not fit Karlo: {name} is {shape}")
        return shape[axis]

    @contextmanager
    def named(self) -> Iterator[None]:
        """Says of which file it is that something does not fit.

        Raises:
            CheckpointError: the block raised an error of ours.
        """
        try:
            yield
        except (CheckpointError, ConfigError) as error:
            raise CheckpointError(f"{self.path} does not fit Karlo: {error}") from error

    def fit(
        self, wanted: Mapping[str, Tensor], place: Callable[[str], Place]
    ) -> dict[str, LazyTensor]:
        """Finds the tensors of a network of ours.

        Args:
            wanted: its `state_dict()` on the meta device.
            place: where a tensor of ours stands.

        Raises:
            CheckpointError: one is missing, extra, misshapen or of another kind; the first ten are
                listed, under Kakao's names.
        """
        places = {name: place(name) for name in wanted}
        shapes = {at.name: _whole(tuple(wanted[name].shape), at) for name, at in places.items()}
        kakaos = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        check_refs(self.refs, kakaos, self.path)
        return {name: _piece(self.refs[at.name], at) for name, at in places.items()}


def _whole(ours: tuple[int, ...], place: Place) -> tuple[int, ...]:
    """The shape of Kakao's tensor, of which ours is a part."""
    return (place.count * ours[0], *ours[1:], *((1,) if place.kernel else ()))


def _piece(ref: TensorRef, place: Place) -> LazyTensor:
    matrix = without_kernel(ref) if place.kernel else ref
    return matrix if place.count == 1 else per_head(matrix, HEAD_DIM, place.count, place.index)
