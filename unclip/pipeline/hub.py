"""Models on the Hugging Face hub: fetched and uploaded only when a hub id is given.

`HF_HUB_OFFLINE` and the hub's own cache are honoured. The index is fetched and checked first; then
only the folders it names, at the same commit. Pickles are never fetched but for Karlo, where there
is nothing else.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unclip.checkpoint import PICKLES
from unclip.errors import CheckpointError
from unclip.karlo.fetch import diffusers_files, original_files
from unclip.karlo.load import is_karlo
from unclip.pipeline.index import INDEX, read_index

HUB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")


def is_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name`."""
    return bool(HUB_ID.fullmatch(name)) and ".." not in name


def download(
    repo_id: str, *, revision: str | None, local_files_only: bool, token: str | None
) -> Path:
    """Returns the folder of a model of the hub, from the cache where it is there.

    Raises:
        CheckpointError: there is no such model, or it cannot be fetched.
    """
    # Imported here: all else works without it.
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    failures = _failures(HfHubHTTPError)
    try:
        with _quiet():
            index = hf_hub_download(
                repo_id, INDEX, revision=revision, local_files_only=local_files_only, token=token
            )
    except failures as error:
        original = _original(repo_id, error, revision=revision, token=token)
        if original is not None:
            return original
        raise CheckpointError(
            f"{repo_id} is no folder here, and cannot be had from the hub ({_first_line(error)}): "
            "check the name, the network and HF_HUB_OFFLINE"
        ) from error

    # The snapshot's folder is named by its commit.
    commit, place = Path(index).parent.name, Path(index).parent
    karlo = is_karlo(place)
    own = [] if karlo else [f"{folder}/*" for folder in read_index(place).folders()]
    try:
        with _quiet():
            patterns = [INDEX, "README.md", *own]
            if karlo:
                patterns = _karlo_files(repo_id, place, commit, local_files_only, token)
            snapshot = snapshot_download(
                repo_id,
                revision=commit,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=patterns,
                ignore_patterns=None if karlo else [f"*{suffix}" for suffix in PICKLES],
            )
    except failures as error:
        raise CheckpointError(
            f"{repo_id} cannot be fetched whole ({_first_line(error)}): try again"
        ) from error
    return Path(snapshot)


def _karlo_files(
    repo_id: str, place: Path, commit: str, local_files_only: bool, token: str | None
) -> list[str] | None:
    """The files of Karlo in diffusers' layout; None, all that is cached, where nothing is
    fetched."""
    from huggingface_hub import HfApi, constants

    if local_files_only or constants.HF_HUB_OFFLINE:
        return None
    there = HfApi(token=token).list_repo_files(repo_id, revision=commit)
    return diffusers_files(place, there)


def _original(
    repo_id: str, error: BaseException, *, revision: str | None, token: str | None
) -> Path | None:
    """Fetches Kakao Brain's own files, if a repository without an index has them."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
    )

    if not isinstance(error, EntryNotFoundError):
        return None
    cached, names = isinstance(error, LocalEntryNotFoundError), None
    try:
        with _quiet():
            if not cached:
                names = original_files(
                    HfApi(token=token).list_repo_files(repo_id, revision=revision)
                )
            if not cached and not names:
                return None
            place = snapshot_download(
                repo_id,
                revision=revision,
                local_files_only=cached,
                token=token,
                allow_patterns=names,
            )
    except _failures(HfHubHTTPError):
        return None
    return Path(place) if is_karlo(Path(place)) else None


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool,
    create_pr: bool,
    token: str | None,
    commit_message: str,
) -> str:
    """Uploads a model folder, making the repository if need be; returns the commit's address.

    Raises:
        CheckpointError: the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if not is_hub_id(repo_id):
        raise CheckpointError(f"{repo_id!r} is no hub id, expected owner/name")
    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message,
            create_pr=create_pr,
        )
    except _failures(HfHubHTTPError) as error:
        raise CheckpointError(
            f"cannot upload to {repo_id} ({_first_line(error)}): check the name, the network and "
            "your token"
        ) from error
    return str(commit)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the hub's library from logging each of its retries: the last failure is told once."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _failures(hub_error: type[Exception]) -> tuple[type[Exception], ...]:
    """What fetching may raise; the hub error's base is that of its HTTP library."""
    return (OSError, ValueError, *(base for base in hub_error.__bases__ if base is not OSError))


def _first_line(error: BaseException) -> str:
    """What went wrong; where the hub could not be reached, the network's own reason."""
    while type(error).__name__ == "LocalEntryNotFoundError" and error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
