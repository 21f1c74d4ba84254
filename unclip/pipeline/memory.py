"""How much memory a model's weights take, by the precision that is asked for."""

from typing import Any

PRECISIONS = {"float32": 4, "float16": 2}
"""Bytes a parameter; bfloat16 is as float16."""


def weight_bytes(stage: dict[str, Any], dtype: str) -> int:
    """The bytes of a stage's weights once loaded: CLIP, and a prior that chooses among candidates,
    stay in float32 whatever is asked for.

    Args:
        stage: its name, its number of parameters and its configuration.
        dtype: one of `PRECISIONS`.
    """
    exact = stage["stage"] == "clip" or (
        stage["stage"] == "prior" and stage["config"]["sampling"]["candidates"] > 1
    )
    return stage["parameters"] * PRECISIONS["float32" if exact else dtype]
