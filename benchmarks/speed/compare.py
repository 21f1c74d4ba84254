"""Whether two engines make the same pictures: told before anything is timed."""

from dataclasses import dataclass

import numpy as np

from benchmarks.speed.engine import Dtype

MAX_ERROR = 1e-3
"""Relative L2 distance, in float32."""
MIN_PSNR = 30.0
"""In decibels, in half precision."""
MAX_SATURATED = 0.5
"""Of values that are black or white: more of them would hide a difference."""
GREY_LEVEL = 1 / 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """An engine's pictures beside the reference's."""

    error: float
    """Relative L2 distance."""
    psnr: float
    """In decibels; 200 where they are the same."""
    saturated: float
    """Share of values within half a grey level of 0 or 1."""
    finite: bool
    equal: bool
    """Whether they are equal enough for the engine's precision, or need not be."""


def compare(
    images: np.ndarray, reference: np.ndarray, dtype: Dtype, equal_output: bool = True
) -> Compared:
    """Compares pictures in [0, 1]."""
    finite = bool(np.isfinite(images).all())
    values = np.nan_to_num(images.astype(np.float64))
    saturated = float(((values < GREY_LEVEL / 2) | (values > 1 - GREY_LEVEL / 2)).mean())
    away = values - reference
    error = float(np.linalg.norm(away) / np.linalg.norm(reference))
    psnr = float(min(200.0, 0.0 - 10 * np.log10(max((away**2).mean(), 1e-20))))
    close = error < MAX_ERROR if dtype == "float32" else psnr > MIN_PSNR
    return Compared(
        error=error,
        psnr=psnr,
        saturated=saturated,
        finite=finite,
        equal=finite and (close or not equal_output),
    )
