"""What a request asks for, checked at the boundary: prompts, how many pictures, which seeds."""

import secrets
from collections.abc import Sequence

from unclip.errors import InputError

MAX_PICTURES = 100_000
MAX_SEED = 2**63 - 1


def prompt_rows(prompt: str | Sequence[str], num_images_per_prompt: int) -> list[str]:
    """Returns one prompt a picture, a prompt's pictures side by side.

    Raises:
        InputError: there is no prompt, something that is no text, or no picture is asked for.
    """
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts:
        raise InputError("got no prompt, expected one or more")
    for item in prompts:
        if not isinstance(item, str):
            raise InputError(f"got {item!r} as a prompt, expected text")
    check_count(num_images_per_prompt * len(prompts))
    return [printable(item) for item in prompts for _ in range(num_images_per_prompt)]


def check_count(count: int) -> None:
    """Raises InputError for a number of pictures that cannot be made."""
    if not 1 <= count <= MAX_PICTURES:
        raise InputError(f"got {count} as the number of pictures, expected 1 to {MAX_PICTURES}")


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises InputError for a seed that is out of range."""
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise InputError(f"seed is {seed}, expected 0 to {MAX_SEED}")


def draw_seed() -> int:
    """Draws a seed that is short enough to be typed again."""
    return secrets.randbelow(2**32)


def printable(prompt: str) -> str:
    """Replaces halves of characters, which a command line can hold and no file can."""
    return prompt.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
