"""A data set that a spawned process can import, whatever else is called `tests`."""

from typing import Any


class Pairs:
    def __len__(self) -> int:
        return 12

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return {"index": key[0], "position": key[1], "caption": f"{key[0]}", "skipped": 0}
