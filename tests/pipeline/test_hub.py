"""The hub, replaced by a folder: what is asked of it, and how its failures are told."""

import logging
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from unclip.errors import CheckpointError
from unclip.pipeline.hub import is_hub_id
from unclip.pipeline.index import INDEX
from unclip.pipeline.pipeline import UnCLIPPipeline


@pytest.fixture
def hub(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """A hub that holds the tiny model; records the calls."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def hf_hub_download(repo: str, name: str, **options: Any) -> str:
        calls.append((f"{repo}/{name}", options))
        return str(tiny_model / name)

    def snapshot_download(repo: str, **options: Any) -> str:
        calls.append((repo, options))
        return str(tiny_model)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_only_what_the_index_names_is_fetched(
    hub: list[tuple[str, dict[str, Any]]], tiny_model: Path
) -> None:
    pipe = UnCLIPPipeline.from_pretrained("ann/tiny", revision="v1", token="hf_x")
    assert pipe.record.source == "ann/tiny"
    (first, options), (second, more) = hub
    assert (first, options["revision"]) == (f"ann/tiny/{INDEX}", "v1")
    assert second == "ann/tiny"
    assert more["revision"] == tiny_model.name  # the commit whose index was read
    assert more["token"] == "hf_x"
    assert "prior/*" in more["allow_patterns"]
    assert "upsampler_256/*" in more["allow_patterns"]
    assert {"*.bin", "*.pt", "*.ckpt", "*.pkl", "*.pth"} <= set(more["ignore_patterns"])


def test_local_files_only(hub: list[tuple[str, dict[str, Any]]]) -> None:
    UnCLIPPipeline.from_pretrained("ann/tiny", local_files_only=True)
    assert all(options["local_files_only"] for _, options in hub)


@pytest.mark.parametrize(
    "failure",
    [
        LocalEntryNotFoundError("not cached\nsecond line"),
        OfflineModeIsEnabled("offline"),
        ConnectionError("no route"),
        HfHubHTTPError.__bases__[0]("connect timed out"),
        ValueError("bad revision"),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("function", ["hf_hub_download", "snapshot_download"])
def test_failures_are_one_line(
    hub: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    failure: Exception,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(huggingface_hub, function, fail)
    with pytest.raises(CheckpointError, match="ann/tiny") as caught:
        UnCLIPPipeline.from_pretrained("ann/tiny")
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_is_told_once(
    hub: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s")
        try:
            raise ConnectionError("name not known")
        except ConnectionError as error:
            raise LocalEntryNotFoundError("a long story") from error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(CheckpointError, match=r"cannot be had from the hub \(name not known\)"):
        UnCLIPPipeline.from_pretrained("ann/tiny")
    assert not caplog.records
    logging.getLogger("huggingface_hub.utils._http").warning("later")
    assert [record.message for record in caplog.records] == ["later"]


def test_names() -> None:
    assert is_hub_id("owner/name-1.0")
    for name in ("name", "a/b/c", "/a", "a/", "../a", "a/..", "a b/c", "C:\\a", "./a"):
        assert not is_hub_id(name), name


class Api:
    """A hub that takes uploads."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def create_repo(self, repo_id: str, **options: Any) -> None:
        calls.append(("create", repo_id, options))

    def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> str:
        calls.append(("upload", repo_id, {path.name for path in folder_path.iterdir()}))
        return f"https://hub/{repo_id}"


calls: list[Any] = []


def test_push(pipe: UnCLIPPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    calls.clear()
    assert pipe.push_to_hub("ann/mine", private=True) == "https://hub/ann/mine"
    assert calls[0] == ("create", "ann/mine", {"private": True, "exist_ok": True})
    assert calls[1][2] >= {INDEX, "README.md", "clip", "prior", "decoder", "upsampler_1024"}


@pytest.mark.parametrize("repo", ["mine", "a/b/c"])
def test_push_to_no_id(pipe: UnCLIPPipeline, repo: str) -> None:
    with pytest.raises(CheckpointError, match="no hub id"):
        pipe.push_to_hub(repo)


def test_push_refused(pipe: UnCLIPPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("403 forbidden")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(Api, "create_repo", refuse)
    with pytest.raises(CheckpointError, match="cannot upload to ann/mine"):
        pipe.push_to_hub("ann/mine")
