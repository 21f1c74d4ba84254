"""Mean and standard deviation of embeddings, in one pass over parts of any number and size.

Counts, means and sums of squared deviations of pieces are joined as Chan, Golub & LeVeque (1979)
do, in float64: no large sums are subtracted from each other, whatever the number of rows.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unclip.data.embeddings import EmbeddingFolder
from unclip.errors import DataError

STATS = "stats.json"
ROWS_AT_A_TIME = 8192


@dataclass(frozen=True)
class Moments:
    """What is known of some rows, dimension by dimension."""

    count: int
    mean: np.ndarray
    squares: np.ndarray
    """Sum of squared deviations from the mean."""

    @staticmethod
    def of(rows: np.ndarray) -> "Moments":
        """Measures rows, of which there is one at least."""
        rows = rows.astype(np.float64)
        mean = rows.mean(0)
        return Moments(len(rows), mean, ((rows - mean) ** 2).sum(0))

    def join(self, other: "Moments") -> "Moments":
        """Returns those of both sets of rows."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        squares = self.squares + other.squares + apart**2 * (self.count * other.count / count)
        return Moments(count, mean, squares)

    def std(self) -> np.ndarray:
        """The unbiased standard deviation."""
        return np.sqrt(self.squares / (self.count - 1))


def measure(folder: EmbeddingFolder, done: Callable[[], None] = lambda: None) -> Moments:
    """Measures a folder's image embeddings and writes them beside its manifest.

    Args:
        done: called after every part.

    Raises:
        DataError: they do not differ, are not finite, or cannot be read or written.
    """
    found: Moments | None = None
    for place, part in enumerate(folder.parts):
        for start in range(0, part.count, ROWS_AT_A_TIME):
            rows = Moments.of(folder.embeds(place)[start : start + ROWS_AT_A_TIME])
            found = rows if found is None else found.join(rows)
        done()
    if found is None or found.count < 2 or not (found.squares > 0).all():  # nor NaN
        raise DataError(
            f"the {len(folder)} embeddings of {folder.root} do not differ in every dimension or "
            "are not finite, so they cannot be whitened: give it more pictures"
        )
    about = {"embeddings": folder.id, "count": found.count}
    about |= {"mean": found.mean.tolist(), "std": found.std().tolist()}
    beside = folder.root / f"{STATS}.partial"
    try:
        beside.write_text(json.dumps(about) + "\n", encoding="utf-8")
        os.replace(beside, folder.root / STATS)
    except OSError as error:
        raise DataError(f"cannot write {folder.root}: {error.strerror or error}") from error
    return found


def read_whitening(folder: EmbeddingFolder) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation, (dim,) each, in float64.

    Raises:
        DataError: they were not measured, or of other embeddings.
    """
    path: Path = folder.root / STATS
    remedy = f"run unclip data stats {folder.root}"
    if not path.is_file():
        raise DataError(f"{folder.root} has no {STATS}, which the whitening takes: {remedy}")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        measured, count = str(about["embeddings"]), int(about["count"])
        mean, std = (np.array(about[name], np.float64) for name in ("mean", "std"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be used ({error!r}): {remedy}") from error
    if measured != folder.id or count != len(folder):
        raise DataError(
            f"{path} was measured on other embeddings ({measured}, {count} of them) than these "
            f"({folder.id}, {len(folder)}): {remedy}"
        )
    if not mean.shape == std.shape == (folder.making.dim,):
        raise DataError(f"{path} has {mean.shape} numbers, expected {folder.making.dim}: {remedy}")
    return mean, std
