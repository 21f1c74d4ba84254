"""The fixed prompts of the sheets: sections of six, every row of a sheet is one."""

from dataclasses import dataclass
from pathlib import Path

from unclip.errors import ConfigError

PROMPTS = Path(__file__).with_name("prompts.txt")
HEADING = "# "


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Prompts that ask for the same kind of thing."""

    title: str
    prompts: tuple[str, ...]


def read_prompts(path: Path = PROMPTS) -> list[Section]:
    """Reads sections: a line `# TITLE`, then a prompt a line.

    Raises:
        ConfigError: it cannot be read, a prompt stands before the first title, a section is empty,
            or a prompt comes twice.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the prompts in {path}: {error}") from error
    found: dict[str, list[str]] = {}
    title = None
    for line in filter(None, lines):
        if line.startswith(HEADING):
            title = line.removeprefix(HEADING)
            found.setdefault(title, [])
        elif title is None:
            raise ConfigError(f"{path} begins with {line!r}, expected a title: {HEADING}TITLE")
        else:
            found[title].append(line)
    prompts = [prompt for section in found.values() for prompt in section]
    if not prompts or not all(found.values()) or len(set(prompts)) < len(prompts):
        raise ConfigError(f"{path} has an empty section or the same prompt twice: mend it")
    return [Section(title=title, prompts=tuple(section)) for title, section in found.items()]
