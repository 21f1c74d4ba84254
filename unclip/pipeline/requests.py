"""What a request asks for, checked at the boundary: prompts, how many pictures, which seeds."""

import operator
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from unclip.errors import InputError

MAX_PICTURES = 100_000
MAX_SEED = 2**63 - 1


def prompt_rows(prompt: str | Sequence[str], num_images_per_prompt: int) -> list[str]:
    """Returns one prompt a picture, a prompt's pictures side by side.

    Raises:
        InputError: there is no prompt, something that is no text, or no picture is asked for.
    """
    prompts = as_list(prompt)
    if not prompts:
        raise InputError("got no prompt, expected one or more")
    for item in prompts:
        if not isinstance(item, str):
            raise InputError(f"got {item!r} as a prompt, expected text")
    each = check_count(num_images_per_prompt)
    check_count(each * len(prompts))
    return [printable(item) for item in prompts for _ in range(each)]


def is_list(value: Any) -> bool:
    """Whether an argument is a list, a tuple or an array, and no text."""
    if isinstance(value, (str, bytes, dict)):
        return False
    # A tensor or array of no dimension is a number, though it calls itself iterable.
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def as_list(value: Any) -> list[Any]:
    """Returns a list's items, or a lone argument as a list of one."""
    return list(value) if is_list(value) else [value]


def whole_number(what: str, value: Any) -> int:
    """Returns a whole number as an int, NumPy's and a tensor's too.

    Raises:
        InputError: it is something else, a truth value or 2.0 for instance.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError as error:
        raise InputError(f"{what} is {value!r}, expected a whole number") from error


def check_count(count: int) -> int:
    """Returns the number of pictures as an int; raises InputError if they cannot be made."""
    count = whole_number("the number of pictures", count)
    if not 1 <= count <= MAX_PICTURES:
        raise InputError(f"got {count} as the number of pictures, expected 1 to {MAX_PICTURES}")
    return count


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Returns seeds as ints; raises InputError for one that is none, or out of range."""
    checked = tuple(whole_number("seed", seed) for seed in seeds)
    for seed in checked:
        if not 0 <= seed <= MAX_SEED:
            raise InputError(f"seed is {seed}, expected 0 to {MAX_SEED}")
    return checked


def draw_seed() -> int:
    """Draws a seed that is short enough to be typed again."""
    return secrets.randbelow(2**32)


def printable(prompt: str) -> str:
    """Replaces halves of characters, which a command line can hold and no file can."""
    return prompt.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
