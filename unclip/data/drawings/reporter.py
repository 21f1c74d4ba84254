"""Who is told how far a build is; the command line's report is one."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Reporter(Protocol):
    """Who is told how far the build is."""

    def note(self, text: str) -> None:
        """Tells something in a line."""
        ...

    def progress(self, totals: Mapping[str, int]) -> AbstractContextManager[Callable[[str], None]]:
        """Counts the steps of each phase."""
        ...
