"""Stages joined to a model, and stages that do not belong together."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import prior_config

import prior.model
from prior.model import Prior
from unclip.checkpoint import StageFolder, load_stage, save_stage
from unclip.errors import CheckpointError
from unclip.pipeline.assemble import assemble, parse_parts, stage_folder
from unclip.pipeline.folders import read_model
from unclip.pipeline.pipeline import UnCLIPPipeline

Change = Callable[[StageFolder], StageFolder]


def parts(runs: Path, **others: Any) -> dict[str, Any]:
    upsamplers = [runs / "upsampler_256", runs / "upsampler_1024"]
    found = {name: runs / name for name in ("clip", "prior", "decoder")}
    return found | {"upsamplers": upsamplers} | others


def changed(runs: Path, out: Path, stage: str, change: Change) -> Path:
    save_stage(out, change(load_stage(runs / stage / "final")))
    return out


def test_run_folders_and_stage_folders(tiny_runs: Path, tmp_path: Path) -> None:
    model = assemble(tmp_path / "a", **parts(tiny_runs))
    finals: dict[str, Any] = {
        name: tiny_runs / name / "final" for name in ("clip", "prior", "decoder")
    }
    ups = [tiny_runs / f"upsampler_{size}" / "final" for size in (256, 1024)]
    other = assemble(tmp_path / "b", **finals, upsamplers=ups, name="other")
    assert (model.name, other.name) == ("a", "other")
    assert model.hash == other.hash == read_model(tmp_path / "a").hash
    # What training said of a stage stays with it.
    assert read_model(tmp_path / "a").upsamplers[0].metadata == {"steps": 5}


def test_fewer_upsamplers(tiny_runs: Path, tmp_path: Path) -> None:
    assemble(tmp_path / "m", **parts(tiny_runs, upsamplers=[]))
    pipe = UnCLIPPipeline.from_pretrained(tmp_path / "m")
    assert pipe.sizes == (64,)
    assert pipe("x", seed=0).images[0].size == (64, 64)


def test_stored_in_half_precision(tiny_runs: Path, tmp_path: Path) -> None:
    full = assemble(tmp_path / "full", **parts(tiny_runs))
    half = assemble(tmp_path / "half", **parts(tiny_runs), dtype=torch.float16)
    assert half.hash != full.hash
    size = [
        (tmp_path / n / "decoder" / "model.safetensors").stat().st_size for n in ("full", "half")
    ]
    assert size[1] < 0.6 * size[0]
    # The CLIP is still the one that the others were trained on.
    UnCLIPPipeline.from_pretrained(tmp_path / "half")


def refuse(match: str, out: Path, **stages: Any) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        assemble(out, **stages)
    assert "\n" not in str(caught.value)
    assert not (out / "model_index.json").exists()


@pytest.mark.parametrize("stage", ["prior", "decoder"])
def test_another_clip(tiny_runs: Path, tmp_path: Path, stage: str) -> None:
    other = changed(
        tiny_runs,
        tmp_path / "stage",
        stage,
        lambda s: dataclasses.replace(s, metadata={"clip": "0123456789abcdef"}),
    )
    match = f"the {stage} was trained on the CLIP 0123456789abcdef, but this CLIP is"
    refuse(match, tmp_path / "m", **parts(tiny_runs, **{stage: other}))


def test_no_word_on_the_clip(tiny_runs: Path, tmp_path: Path) -> None:
    other = changed(
        tiny_runs, tmp_path / "s", "prior", lambda s: dataclasses.replace(s, metadata={})
    )
    refuse("trained on the CLIP None", tmp_path / "m", **parts(tiny_runs, prior=other))


def test_another_width(tiny_runs: Path, tmp_path: Path) -> None:
    wide = Prior(prior_config(embed_dim=16))
    metadata = load_stage(tiny_runs / "prior" / "final").metadata
    save_stage(tmp_path / "wide", prior.model.to_stage(wide.config, wide.state_dict(), metadata))
    refuse(
        "the prior's embed_dim is 16, but this CLIP's is 12",
        tmp_path / "m",
        **parts(tiny_runs, prior=tmp_path / "wide"),
    )


def test_sizes_that_do_not_meet(tiny_runs: Path, tmp_path: Path) -> None:
    refuse(
        "upsampler 1 goes from 256 to 1024 px, but the decoder gives 64 px",
        tmp_path / "m",
        **parts(tiny_runs, upsamplers=[tiny_runs / "upsampler_1024"]),
    )
    twice = [tiny_runs / "upsampler_256"] * 2
    refuse(
        "upsampler 2 goes from 64 to 256 px, but the upsampler 1 gives 256 px",
        tmp_path / "m",
        **parts(tiny_runs, upsamplers=twice),
    )


def test_weights_that_are_not_what_the_config_says(tiny_runs: Path, tmp_path: Path) -> None:
    def drop(stage: StageFolder) -> StageFolder:
        tensors = dict(stage.tensors)
        tensors.pop("norm_out.weight")
        return dataclasses.replace(stage, tensors=tensors)

    other = changed(tiny_runs, tmp_path / "s", "prior", drop)
    refuse("missing norm_out.weight", tmp_path / "m", **parts(tiny_runs, prior=other))


def test_a_stage_of_another_kind(tiny_runs: Path, tmp_path: Path) -> None:
    refuse(
        "holds a decoder, expected a prior",
        tmp_path / "m",
        **parts(tiny_runs, prior=tiny_runs / "decoder"),
    )
    refuse("no stage folder", tmp_path / "m", **parts(tiny_runs, prior=tmp_path))


def test_an_unfinished_run(tiny_runs: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(CheckpointError, match="without final"):
        stage_folder(tmp_path)


def test_out_is_not_overwritten(tiny_runs: Path, tmp_path: Path) -> None:
    assemble(tmp_path / "m", **parts(tiny_runs))
    with pytest.raises(CheckpointError, match="is not empty"):
        assemble(tmp_path / "m", **parts(tiny_runs))
    assemble(tmp_path / "m", **parts(tiny_runs, upsamplers=[]), replace=True)
    assert not read_model(tmp_path / "m").upsamplers


def test_a_mix_of_two_models_is_not_loaded(tiny_runs: Path, tmp_path: Path) -> None:
    """Somebody copies a stage by hand."""
    assemble(tmp_path / "m", **parts(tiny_runs))
    other = changed(
        tiny_runs,
        tmp_path / "s",
        "decoder",
        lambda s: dataclasses.replace(s, metadata={"clip": "another"}),
    )
    shutil.rmtree(tmp_path / "m" / "decoder")
    shutil.copytree(other, tmp_path / "m" / "decoder")
    with pytest.raises(CheckpointError, match="trained on the CLIP another"):
        UnCLIPPipeline.from_pretrained(tmp_path / "m")


def test_parts() -> None:
    found = parse_parts(["clip=a", "prior=b", "decoder=c=d", "upsamplers=e,f"])
    assert found["decoder"] == [Path("c=d")]
    assert found["upsamplers"] == [Path("e"), Path("f")]
    for wrong, reason in (
        (["clip=a"], "also needs prior=DIR and decoder=DIR"),
        (["clip=a", "clip=b"], "once"),
        (["clip=a,b"], "once"),
        (["clip="], "once"),
        (["cilp=a"], "no part of a model"),
        (["clip"], "no part of a model"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            parse_parts(wrong)
