"""The hub, replaced by a folder: what is asked of it, and how its failures are told."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
)

from unclip.errors import CheckpointError
from unclip.karlo.fetch import diffusers_files
from unclip.pipeline.folders import find_model
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


SMALL = ["tokenizer/tokenizer_config.json"] + [
    f"{name}_scheduler/scheduler_config.json" for name in ("prior", "decoder", "super_res")
]
NETWORKS = ("decoder", "prior", "super_res_first", "super_res_last", "text_proj")


class KarloHub:
    """A hub that holds a folder of Karlo, and other files beside it."""

    def __init__(self, folder: Path, more: list[str]) -> None:
        self.files = [
            *(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()),
            *more,
        ]
        self.folder, self.asked = folder, {}

    def list_repo_files(self, repo: str, *, revision: str | None) -> list[str]:
        self.asked["listed"] = revision
        return self.files

    def hf_hub_download(self, repo: str, name: str, **options: Any) -> str:
        if name not in self.files:
            response: Any = SimpleNamespace(headers={}, request=None)
            raise RemoteEntryNotFoundError("404", response=response)
        return str(self.folder / name)

    def snapshot_download(self, repo: str, **options: Any) -> str:
        self.asked |= options
        return str(self.folder)


@pytest.fixture
def karlo_hub(karlo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KarloHub:
    more = [f"{name}/diffusion_pytorch_model.bin" for name in NETWORKS]
    more += ["text_encoder/pytorch_model.bin", "text_encoder/flax_model.msgpack", "horse.png"]
    hub = KarloHub(karlo_folder, more)
    serve(hub, monkeypatch)
    return hub


def serve(hub: KarloHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token: hub)


def test_karlo_is_fetched_once_and_as_safetensors(karlo_hub: KarloHub) -> None:
    pipe = UnCLIPPipeline.from_pretrained("kakaobrain/karlo-v1-alpha", revision="main")
    assert (pipe.record.name, pipe.record.source) == (
        "karlo-v1-alpha",
        "kakaobrain/karlo-v1-alpha",
    )
    asked = karlo_hub.asked
    assert asked["listed"] == asked["revision"] == karlo_hub.folder.name
    expected = [INDEX, "tokenizer/tokenizer.json", *SMALL, "text_encoder/model.safetensors"]
    expected += [f"{name}/diffusion_pytorch_model.safetensors" for name in NETWORKS]
    expected += [f"{name}/config.json" for name in (*NETWORKS, "text_encoder")]
    assert sorted(asked["allow_patterns"]) == sorted(expected)
    assert asked["ignore_patterns"] is None


def test_karlo_has_pickles_where_there_is_nothing_else(karlo_hub: KarloHub) -> None:
    there = [name for name in karlo_hub.files if not name.endswith(".safetensors")]
    there += ["tokenizer/vocab.json", "tokenizer/merges.txt"]
    wanted = diffusers_files(karlo_hub.folder, there)
    assert {f"{name}/diffusion_pytorch_model.bin" for name in NETWORKS} <= set(wanted)
    assert {"text_encoder/pytorch_model.bin", "tokenizer/vocab.json"} <= set(wanted)
    assert "tokenizer/tokenizer.json" not in wanted
    with pytest.raises(CheckpointError, match="prior has no weights"):
        diffusers_files(karlo_hub.folder, [n for n in there if not n.startswith("prior/")])
    stem = "prior/diffusion_pytorch_model"
    there = [name for name in karlo_hub.files if name != f"{stem}.safetensors"]
    shards = [f"{stem}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    wanted = diffusers_files(karlo_hub.folder, [*there, f"{stem}.safetensors.index.json", *shards])
    assert {f"{stem}.safetensors.index.json", *shards} <= set(wanted)
    assert f"{stem}.bin" not in wanted


def test_karlo_from_the_cache_alone(karlo_hub: KarloHub) -> None:
    assert UnCLIPPipeline.from_pretrained("a/karlo", local_files_only=True).prior
    assert "listed" not in karlo_hub.asked
    assert karlo_hub.asked["local_files_only"]


def test_kakao_s_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "prior-ckpt-step=1.ckpt",
        "decoder-ckpt-step=1.ckpt",
        "improved-sr-ckpt-step=1.2M.ckpt",
    ]
    names += ["ViT-L-14.pt", "ViT-L-14_stats.th"]
    for name in names:
        (tmp_path / name).touch()
    hub = KarloHub(tmp_path, ["README.md", "other.ckpt", "configs/prior.yaml"])
    serve(hub, monkeypatch)
    assert find_model("a/karlo") == (tmp_path, "a/karlo")
    assert sorted(hub.asked["allow_patterns"]) == sorted([*names, "README.md"])
    # A repository of anything else.
    serve(KarloHub(tmp_path / "none", ["model.ckpt"]), monkeypatch)
    with pytest.raises(CheckpointError, match="a/other"):
        find_model("a/other")
