"""From captioned pictures to embeddings, their whitening, and a prior that is trained on them."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import TWO, contents, finish
from tar_files import picture, write_shards, write_tar

from prior.train import main as train_prior
from unclip.cli.main import main
from unclip.safetensors_file import open_safetensors
from unclip.training import tracking

CONFIGS = Path(__file__).parents[2] / "configs" / "tiny"
SHAPE = ("model.embed_dim=12", "model.text_width=16", "model.context_length=12")
Unclip = Callable[..., dict[str, Any]]
Train = Callable[..., list[float]]


@pytest.fixture
def clip(tiny_runs: Path) -> str:
    return str(tiny_runs / "clip" / "final")


@pytest.fixture
def unclip(clip: str, capfd: pytest.CaptureFixture[str]) -> Unclip:
    """`unclip("embed", shards, out, ...)` runs `unclip data embed` and returns its result."""

    def run(verb: str, *arguments: Path | str) -> dict[str, Any]:
        more = ["--clip", clip] if verb == "embed" and "--clip" not in arguments else []
        main(["data", verb, *map(str, arguments), *more, "--json"])
        out = capfd.readouterr().out
        return json.loads(out)

    return run


@pytest.fixture
def train(
    clip: str,
    tmp_path: Path,
    reset_accelerate: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Train:
    """`train("name", "embeddings=DIR")` trains a prior and returns the loss of every step."""
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)  # TensorBoard is slow to start

    def run(name: str, *overrides: str, code: int = 0) -> list[float]:
        reset_accelerate()
        sets = [f"clip={clip}", *SHAPE, "train.log_every=1", *overrides]
        on_pictures = any(each.startswith("images=/") for each in overrides)
        config = CONFIGS / ("prior.yaml" if on_pictures else "prior_on_embeddings.yaml")
        arguments = ["--config", str(config), "--out", str(tmp_path / name)]
        assert train_prior([*arguments, *(p for each in sets for p in ("--set", each))]) == code
        log = tmp_path / name / "log.jsonl"
        lines = log.read_text().splitlines() if log.is_file() else []
        return [json.loads(line)["loss"] for line in lines]

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_prior_on_embeddings_is_the_prior_on_their_pictures(
    unclip: Unclip, train: Train, tiny_world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "embeds"
    made = unclip("embed", tiny_world / "64", out, "--dtype", "float32")
    assert (made["count"], made["dim"], made["shards_embedded_now"]) == (12, 12, 1)
    measured = unclip("stats", out)
    assert (measured["count"], measured["embeddings"]) == (12, made["id"])

    packed = ("train.steps=6", "draws_per_caption=4")
    on_pictures = train("pictures", f"images={tiny_world / '64'}", *packed)
    on_embeddings = train("embeddings", f"embeddings={out}", "train.steps=6")
    assert on_embeddings == pytest.approx(on_pictures, rel=1e-4)
    final = tmp_path / "embeddings" / "final"
    tensors = open_safetensors(final / "model.safetensors")
    stats = json.loads((out / "stats.json").read_text())
    for name, value in (("clip_mean", "mean"), ("clip_std", "std")):
        found = tensors[name].load()[0].numpy()
        np.testing.assert_allclose(found, stats[value], rtol=1e-6)
    about = json.loads((final / "config.json").read_text())
    assert about["metadata"] == {"clip": made["clip"], "embeddings": made["id"]}


def test_it_goes_on_where_it_stopped(unclip: Unclip, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", [4, 3, 5])
    unclip("embed", tmp_path / "shards", tmp_path / "whole")
    whole = files(tmp_path / "whole")
    good = shards[1].read_bytes()
    shards[1].write_bytes(good[:3000])
    out = tmp_path / "out"
    failed = unclip("embed", tmp_path / "shards", out)
    assert failed["exit_code"] == 2
    assert "00001.tar is damaged" in failed["error"]["message"]
    assert not (out / "embeddings.json").exists()
    first = (out / "img_emb" / "img_emb_0.npy").stat().st_mtime_ns

    shards[1].write_bytes(good)
    assert unclip("embed", tmp_path / "shards", out)["shards_embedded_now"] == 2
    assert files(out) == whole
    assert (out / "img_emb" / "img_emb_0.npy").stat().st_mtime_ns == first
    assert unclip("embed", tmp_path / "shards", out)["shards_embedded_now"] == 0

    # What was damaged is made again, and so is what comes of another shard.
    content = bytearray((out / "text_emb" / "text_emb_2.npy").read_bytes())
    content[-1] ^= 1
    (out / "text_emb" / "text_emb_2.npy").write_bytes(content)
    assert unclip("embed", tmp_path / "shards", out)["shards_embedded_now"] == 1
    assert files(out) == whole
    write_tar(shards[0], {"x.png": picture(9), "x.txt": b"other"})
    assert unclip("embed", tmp_path / "shards", out)["count"] == 9

    shards[2].unlink()
    refused = unclip("embed", tmp_path / "shards", out)
    assert "holds part 2, but there are 2 shards" in refused["error"]["message"]


def test_bad_samples_are_skipped_and_counted(unclip: Unclip, tmp_path: Path) -> None:
    odd = {
        "a.png": picture(1)[:60],
        "a.txt": b"cut off",
        "b.png": picture(2),
        "b.json": b'{"caption": "a\\u0000b \\ud800"}',
        "c.png": picture(3),
    }
    write_tar(tmp_path / "odd.tar", odd)
    made = unclip("embed", tmp_path / "odd.tar", tmp_path / "out")
    assert made["skipped"] == {"no caption": 1, "picture cannot be decoded": 1}
    assert made["count"] == 1
    write_tar(tmp_path / "none.tar", {"c.png": picture(3)})
    refused = unclip("embed", tmp_path / "none.tar", tmp_path / "none")
    assert "none of the samples in 1 shards can be used" in refused["error"]["message"]


def test_another_clip_or_type_is_refused(
    unclip: Unclip,
    train: Train,
    clip: str,
    tiny_runs: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    write_shards(tmp_path / "shards", [3])
    (tmp_path / "file").touch()
    made = unclip("embed", tmp_path / "shards", out, "--clip", str(tiny_runs / "model"))
    assert made["exit_code"] == 0, "a model's own CLIP"
    for arguments, says in (
        (("--clip", "pocket"), f"holds float16 embeddings of the clip {made['clip']}"),
        (("--clip", str(tmp_path)), "is no model"),
        (("--dtype", "float32"), "now they are float32 embeddings"),
        (("--dtype", "int8"), "choose float16 or float32"),
        ((), "file: File exists"),
    ):
        target = out if arguments else tmp_path / "file"
        refused = unclip("embed", tmp_path / "shards", target, *arguments)
        assert refused["exit_code"] == 2
        assert says in refused["error"]["message"]

    def refusal(*overrides: str) -> str:
        assert train("refused", *overrides, "train.steps=1", code=2) == []
        return capfd.readouterr().err

    assert "run unclip data stats" in refusal(f"embeddings={out}")
    assert "got none of them of images and embeddings: give one" in refusal("embeddings=null")
    assert "got both of images" in refusal(f"embeddings={out}", f"images={tmp_path}")
    other = tmp_path / "other"
    unclip("embed", tmp_path / "shards", other, "--clip", "pocket")
    assert f"this run's clip is {made['clip']}" in refusal(f"embeddings={other}")


def test_embeddings_of_another_program_are_taken_over_if_they_are_of_this_clip(
    unclip: Unclip, tmp_path: Path
) -> None:
    write_shards(tmp_path / "shards", [4, 3])
    made = unclip("embed", tmp_path / "shards", tmp_path / "made")
    theirs, shown = tmp_path / "theirs", ("img_emb", "text_emb", "metadata")
    for kind in shown:
        shutil.copytree(tmp_path / "made" / kind, theirs / kind)
        for path in (theirs / kind).iterdir():  # as of a program that counts 00, 01
            path.rename(path.with_stem(f"{path.stem[:-1]}0{path.stem[-1]}"))
    rows = np.load(theirs / "img_emb" / "img_emb_01.npy")
    rows[1] = 0
    np.save(theirs / "img_emb" / "img_emb_01.npy", rows)
    taken = unclip("embed", theirs, tmp_path / "taken")
    assert (taken["count"], taken["clip"]) == (6, made["clip"])
    assert taken["skipped"] == {"no embedding": 1}
    again, found = files(tmp_path / "made"), files(tmp_path / "taken")
    for name in ("img_emb/img_emb_0.npy", "captions/captions_0.npy", "metadata/metadata_0.parquet"):
        assert found[name] == again[name]
    assert unclip("embed", theirs, tmp_path / "taken")["shards_embedded_now"] == 0

    other = unclip("embed", theirs, tmp_path / "other", "--clip", "pocket")
    assert "has embeddings of 12, this CLIP's are of 128" in other["error"]["message"]
    text = theirs / "text_emb" / "text_emb_00.npy"
    rows = np.load(text).astype(np.float32)
    np.save(text, rows / np.linalg.norm(rows, axis=1, keepdims=True))
    normalised = unclip("embed", theirs, tmp_path / "other")
    assert "clip-retrieval normalises" in normalised["error"]["message"]
    np.save(text, rows[::-1].copy())
    foreign = unclip("embed", theirs, tmp_path / "other")
    assert "part 00 of" in foreign["error"]["message"]
    assert "is of another CLIP" in foreign["error"]["message"]


@pytest.mark.slow
def test_a_run_on_embeddings_resumes_bit_exactly(
    unclip: Unclip, train: Train, tiny_world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "embeds"
    unclip("embed", tiny_world / "64", out)
    unclip("stats", out)
    whole = train("whole", f"embeddings={out}", "train.steps=6")
    train("parts", f"embeddings={out}", "train.steps=4")
    assert train("parts", f"embeddings={out}", "train.steps=6") == whole
    assert contents(tmp_path / "parts", 6) == contents(tmp_path / "whole", 6)


@pytest.mark.slow
def test_two_processes_write_what_one_writes(
    start_training: Callable[..., "subprocess.Popen[str]"], clip: str, tmp_path: Path
) -> None:
    write_shards(tmp_path / "shards", [4, 3, 0, 300, 2])
    for name, launcher in (("one", (sys.executable,)), ("two", TWO)):
        command = ["-m", "unclip", "data", "embed", str(tmp_path / "shards"), str(tmp_path / name)]
        output = finish(start_training([*launcher, *command, "--clip", clip]))
        assert "309 embeddings of 12 float16 numbers from 5 shards" in output
    assert files(tmp_path / "two") == files(tmp_path / "one")

    assert main(["data", "stats", str(tmp_path / "one")]) == 0
    sets = [f"clip={clip}", f"embeddings={tmp_path / 'one'}", *SHAPE]
    # The gradient of a key's bias is 0 but for rounding, which AdamW must not blow up.
    sets += ["train.steps=4", "train.eps=1e-6"]
    command = ["-m", "prior.train", "--config", str(CONFIGS / "prior_on_embeddings.yaml")]
    command += [part for each in sets for part in ("--set", each)]
    for name, launcher in (("train1", (sys.executable,)), ("train2", TWO)):
        finish(start_training([*launcher, *command, "--out", str(tmp_path / name)]))
    weights = [
        open_safetensors(tmp_path / name / "final" / "model.safetensors")
        for name in ("train1", "train2")
    ]
    for name, tensor in weights[0].items():
        other = weights[1][name].load().numpy()
        np.testing.assert_allclose(tensor.load().numpy(), other, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_killed_embedding_goes_on(
    start_training: Callable[..., "subprocess.Popen[str]"], clip: str, tmp_path: Path
) -> None:
    write_shards(tmp_path / "shards", [400] * 12)
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-m", "unclip", "data", "embed", str(tmp_path / "shards")]
    process = start_training([*command, str(out), "--clip", clip])
    deadline = time.monotonic() + 120
    while not (out / "parts" / "part_2.json").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "embeddings.json").exists()
    output = finish(start_training([*command, str(out), "--clip", clip]))
    assert "from 12 shards" in output
    assert "12 of them now" not in output
    finish(start_training([*command, str(whole), "--clip", clip]))
    assert files(out) == files(whole)
    shutil.rmtree(whole)
