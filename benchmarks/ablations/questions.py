"""The questions of the ablations, as the tables `training.yaml` and `sweeps.yaml` ask them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unclip.config import load_config
from unclip.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One answer that is tried."""

    name: str
    set: tuple[str, ...] = ()
    """KEY=VALUE, what it has otherwise than the baseline; nothing is the baseline itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A choice, and the arms that are compared; each differs from the baseline in it alone."""

    key: str
    """In one word, for the command line."""
    question: str
    arms: tuple[Arm, ...]
    kept: str | None = None
    """What was chosen, and why, in a few words: decided by hand, after looking."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ConfigError(f"{self.key} has the arms {names}, expected two or more names")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """All questions of one file."""

    questions: tuple[Question, ...]


def read_questions(path: Path, keys: Sequence[str] = ()) -> tuple[Question, ...]:
    """Reads a table; returns the questions of these keys, or all.

    Raises:
        ConfigError: the table is wrong, or has no question of a key.
    """
    known = {question.key: question for question in load_config(Table, path).questions}
    for key in keys:
        if key not in known:
            raise ConfigError(f"there is no question {key!r}: choose of {', '.join(known)}")
    return tuple(known[key] for key in keys or known)
