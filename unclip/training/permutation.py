"""The order of an epoch, computed place by place: nothing of the data's length is ever held.

A Feistel network (Luby & Rackoff 1988) permutes the numbers of b bits, the smallest b that holds
the length; a number past the end is sent through again until it lies within (cycle walking, Black &
Rogaway 2002), which takes less than two turns on average. So a place of an epoch of 1e9 samples
costs as much as one of a thousand, and every process finds it alone.
"""

import hashlib

import numpy as np

ROUNDS = 12


class Permutation:
    """A one-to-one order of 0 to length - 1, a function of the seed and the epoch."""

    def __init__(self, seed: int, epoch: int, length: int) -> None:
        bits = max(2, (length - 1).bit_length())
        self.length = length
        self.low_bits = np.uint64((bits + 1) // 2)
        self.low_mask = np.uint64(2 ** ((bits + 1) // 2) - 1)
        self.high_mask = np.uint64(2 ** (bits // 2) - 1)
        self.keys = [
            np.frombuffer(hashlib.sha256(f"{seed}:{epoch}:{i}".encode()).digest()[:8], "<u8")
            for i in range(ROUNDS)
        ]

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Returns what stands at some places, each from 0 to length - 1."""
        found = self._rounds(places.astype(np.uint64))
        outside = found >= self.length
        while outside.any():
            found[outside] = self._rounds(found[outside])
            outside = found >= self.length
        return found.astype(np.int64)

    def _rounds(self, x: np.ndarray) -> np.ndarray:
        low, high = x & self.low_mask, x >> self.low_bits
        for i, key in enumerate(self.keys):
            # Each half is changed by the other in turn, which can be undone whatever `_mix` is.
            if i % 2:
                low ^= _mix(high + key) & self.low_mask
            else:
                high ^= _mix(low + key) & self.high_mask
        return (high << self.low_bits) | low


def _mix(x: np.ndarray) -> np.ndarray:
    """Scatters 64 bits (the finaliser of splitmix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
