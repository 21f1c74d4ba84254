"""Fetches the packages of some sources into a cache folder, once each, whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unclip.data.drawings import debian, npm
from unclip.data.drawings.packages import NpmPackage
from unclip.data.drawings.reporter import Reporter
from unclip.data.drawings.sources import Source
from unclip.errors import UnCLIPError


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """What there is to build from."""

    sources: tuple[Source, ...]
    """Those whose packages are there."""
    versions: dict[str, str]
    """Of the packages, by name."""
    unpinned: tuple[str, ...]
    """Sources whose package has another version than the pinned one."""
    missing: dict[str, str]
    """Why a source is left out, by its name."""


def fetch(sources: Sequence[Source], cache: Path, reporter: Reporter) -> Fetched:
    """Fetches what is not in the cache yet.

    The packages of npm must come; those of Debian are optional, unless nothing else was asked for.

    Raises:
        BackendError: npm is not installed.
        DataError: a package of npm cannot be fetched, or is not the pinned one.
        InputError: the cache cannot be written.
    """
    packages = dict.fromkeys(package for source in sources for package in source.packages)
    versions: dict[str, str] = {}
    problems: dict[str, UnCLIPError] = {}
    with reporter.progress({"packages": len(packages)}) as advance:
        for package in packages:
            if isinstance(package, NpmPackage):
                npm.fetch(package, cache)
                versions[package.name] = package.version
            else:
                try:
                    versions[package.name] = debian.fetch(package, cache)
                except UnCLIPError as error:
                    problems[package.name] = error
            advance("packages")
    there = tuple(source for source in sources if source.package.name not in problems)
    if not there:
        raise next(iter(problems.values()))
    _tell(sources, versions, problems, reporter)
    return Fetched(
        sources=there,
        versions=versions,
        unpinned=tuple(s.name for s in there if versions[s.package.name] != s.package.version),
        missing={
            source.name: str(problems[source.package.name])
            for source in sources
            if source.package.name in problems
        },
    )


def _tell(
    sources: Sequence[Source],
    versions: dict[str, str],
    problems: dict[str, UnCLIPError],
    reporter: Reporter,
) -> None:
    """Says in a line each what is missing, and what has another version."""
    for source in sources:
        package = source.package
        if package.name in problems:
            reporter.note(f"without {source.name}: {problems[package.name]}")
        elif versions[package.name] != package.version:
            reporter.note(
                f"{package.name} is of version {versions[package.name]}, not {package.version}: "
                f"the number of drawings of {source.name} may differ"
            )
