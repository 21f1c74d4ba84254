"""How much memory a computation takes, told without running it: on the meta device.

Every operation's answer is counted from when it is made until nothing holds it any more, as
PyTorch's allocators do without graphs and without gradients. What kernels take for themselves
(workspaces, a few hundred MB at most) and the allocator's rounding are not in it.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(run: Callable[[], object]) -> int:
    """Returns the most bytes that the tensors made by a run held at a time.

    Args:
        run: on meta tensors, which are made before and not counted.
    """
    with torch.no_grad(), _Ledger() as ledger:
        kept = run()
    del kept
    return ledger.peak


class _Ledger(TorchDispatchMode):
    """Counts the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {
            id(leaf.untyped_storage())
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, Tensor)
        }
        answer = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(answer):
            if isinstance(leaf, Tensor):
                self._enter(leaf.untyped_storage(), given)
        return answer

    def _enter(self, storage: Any, given: set[int]) -> None:
        key = id(storage)
        if key in given or key in self._known:
            return  # a view, or written in place
        size = storage.nbytes()

        def leave(_: object) -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, leave)
        self.now += size
        self.peak = max(self.peak, self.now)
