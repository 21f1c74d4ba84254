"""Recording without a GPU: every operation on tensors is written down and done again in its place.

As with a CUDA graph nothing of Python runs again: numbers and branches are those of the recording,
tensors are read where they lay, and answers appear where they appeared.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[Callable[..., Any], Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        self.lines.append((func, args, kwargs or {}, answer))
        return answer


class TapeRecorder:
    """Counts its recordings."""

    def __init__(self) -> None:
        self.recordings = 0
        self.replays = 0

    def __call__(
        self, run: Callable[[], list[Tensor]]
    ) -> tuple[Callable[[], object], list[Tensor]]:
        self.recordings += 1
        with _Tape() as tape:
            answers = run()

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                for func, args, kwargs, before in tape.lines:
                    again = func(*args, **kwargs)
                    for old, new in zip(tree_leaves(before), tree_leaves(again), strict=True):
                        if _differs(old, new):
                            old.copy_(new)

        return replay, answers


def _differs(old: object, new: object) -> bool:
    """Whether an answer lies elsewhere now; weights that oneDNN packed are as they were."""
    if not isinstance(old, Tensor) or not isinstance(new, Tensor) or old.layout != torch.strided:
        return False
    return old.data_ptr() != new.data_ptr()
