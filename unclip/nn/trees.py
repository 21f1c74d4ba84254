"""Arguments taken apart into their tensors and the shape of what holds them, and put together."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

Tree = Any
"""Tensors in tuples, named tuples, lists and dicts, beside None, numbers and text."""
Structure = Any
"""All of a tree but its tensors; hashable."""

_TENSOR = "tensor"


def flatten(tree: Tree) -> tuple[list[Tensor], Structure]:
    """Returns a tree's tensors, in a fixed order, and the rest of it.

    Raises:
        TypeError: it holds something that is neither a tensor nor hashable.
    """
    tensors: list[Tensor] = []
    return tensors, _take_apart(tree, tensors)


def unflatten(structure: Structure, tensors: list[Tensor]) -> Tree:
    """Puts together what `flatten` took apart, with these tensors."""
    return _put_together(structure, iter(tensors))


def _take_apart(tree: Tree, tensors: list[Tensor]) -> Structure:
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return _TENSOR, None, ()
    if isinstance(tree, (tuple, list)):
        return "row", type(tree), tuple(_take_apart(item, tensors) for item in tree)
    if isinstance(tree, dict):
        items = tuple(_take_apart(item, tensors) for item in tree.values())
        return "dict", tuple(tree), items
    hash(tree)
    # 1, 1.0 and True are equal, and no two of them are the same argument.
    return "value", type(tree), (tree,)


def _put_together(structure: Structure, tensors: Iterator[Tensor]) -> Tree:
    kind, what, content = structure
    if kind == _TENSOR:
        return next(tensors)
    if kind == "value":
        return content[0]
    items = [_put_together(item, tensors) for item in content]
    if kind == "dict":
        return dict(zip(what, items, strict=True))
    return what(*items) if hasattr(what, "_fields") else what(items)
