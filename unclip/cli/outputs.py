"""Where pictures go: their names are known, and known to be free, before any work is done."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unclip.errors import InputError

SUFFIX = ".png"
MAX_SLUG_CHARACTERS = 48


@dataclass(frozen=True)
class Plan:
    """Files to write."""

    pictures: tuple[Path, ...]
    """One a picture."""
    grid: Path | None
    force: bool

    def check(self, mine: Sequence[int]) -> None:
        """Checks that the files that this process writes can be written.

        Raises:
            InputError: a file is there already and `force` is off, or the folder cannot be written.
        """
        wanted = [self.pictures[index] for index in mine]
        wanted += [self.grid] if self.grid is not None else []
        for path in wanted:
            if os.path.isdir(path):
                raise InputError(f"{path} is a folder, expected a file to write")
            if os.path.lexists(path) and not self.force:
                raise InputError(f"{path} exists: pass --force to overwrite it, or another --out")
        if not wanted:
            return
        # They lie in one folder, and the longest name is the first to be too long. The folder is
        # made with the first picture; until then what is above it must do.
        path = max(wanted, key=lambda path: len(path.name))
        above = next((folder for folder in path.parents if os.path.lexists(folder)), Path())
        try:
            probe = _beside(above / path.name)
            probe.touch()
            probe.unlink()
        except (OSError, ValueError) as error:
            raise _unwritable(path, error) from error


def plan(
    out: str | None, labels: Sequence[str], seeds: Sequence[int], *, grid: bool, force: bool
) -> Plan:
    """Names one file a picture.

    Args:
        out: a folder (existing, or ending in a slash) gets `label-seed.png`; else a file, numbered
            where there are several; None is the current folder.
        labels: what each picture shows.

    Raises:
        InputError: `out` names another kind of file than PNG.
    """
    if out is None or out == "" or out.endswith(("/", os.sep)) or os.path.isdir(out):
        folder = Path(out or ".")
        slugs = [slug(label) for label in labels]
        names = [f"{name}-{seed}{SUFFIX}" for name, seed in zip(slugs, seeds, strict=True)]
        sheet = folder / f"{slugs[0]}-{seeds[0]}-grid{SUFFIX}" if grid else None
        return Plan(tuple(folder / name for name in names), sheet, force)
    path = Path(out)
    if path.suffix.lower() not in ("", SUFFIX):
        raise InputError(f"--out {out}: pictures are written as PNG, name it {path.stem}{SUFFIX}")
    path = path.with_suffix(SUFFIX) if not path.suffix else path
    sheet = path.with_stem(f"{path.stem}_grid") if grid else None
    if len(labels) == 1:
        return Plan((path,), sheet, force)
    digits = max(3, len(str(len(labels))))
    numbered = (path.with_stem(f"{path.stem}_{i:0{digits}}") for i in range(1, len(labels) + 1))
    return Plan(tuple(numbered), sheet, force)


def slug(label: str) -> str:
    """Makes a label a file name: lower case, words joined by hyphens, letters of any script."""
    text = unicodedata.normalize("NFKD", label)
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"[^\w]+", "-", text.lower().encode("utf-8", "replace").decode())
    return text[:MAX_SLUG_CHARACTERS].strip("-_") or "picture"


def write(path: Path, content: bytes, *, force: bool) -> None:
    """Writes a file whole or not at all, and never over another one without `force`.

    Raises:
        InputError: it cannot be written, or appeared meanwhile.
    """
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        if force:
            os.replace(beside, path)
        else:
            _place(beside, path)
    except FileExistsError as error:
        raise InputError(f"{path} appeared meanwhile: pass --force to overwrite it") from error
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _place(beside: Path, path: Path) -> None:
    """Renames, but never over another file."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links.
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(beside, path)


def _unwritable(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"cannot write {path}: {reason}; choose another --out")
