"""Kakao's files against the diffusers modules that they were made of, by names given independently
(`tests/support/kakao_files.py`)."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import kakao_files
import pytest
import torch
from kakao_files import FILES
from torch import Tensor

from decoder.config import DecoderConfig
from decoder.model import Decoder
from prior.config import PriorConfig
from prior.model import Prior
from unclip.clip.names import rename_hugging_face
from unclip.errors import CheckpointError
from unclip.karlo.load import is_karlo, open_karlo
from unclip.karlo.opened import OpenModel, OpenStage
from unclip.karlo.original import (
    open_decoder,
    open_original,
    open_prior,
    open_statistics,
    open_upsampler,
)
from unclip.karlo.original_clip import OPENAI_MERGES, open_original_clip
from unclip.karlo.original_names import conditioning_place, prior_place, unet_place
from unclip.nn.initialise import NoFirstWeights
from unclip.nn.unet import UNet
from upsamplers.config import UpsamplerConfig

# OpenAI's CLIPs are in TorchScript, which PyTorch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")


@pytest.fixture(scope="module")
def state(kakao_state: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    return kakao_state


@pytest.fixture(scope="module")
def folder(kakao_folder: Path) -> Path:
    return kakao_folder


@pytest.fixture(scope="module")
def opened(folder: Path) -> OpenModel:
    return open_original(folder)


def same(stage: OpenStage, expected: Mapping[str, Tensor]) -> None:
    assert stage.tensors.keys() == expected.keys()
    for name, ref in stage.tensors.items():
        assert ref.shape == tuple(expected[name].shape), name
        assert ref.dtype == expected[name].dtype, name
        assert torch.equal(ref.load(), expected[name]), name


def test_prior(opened: OpenModel, state):
    assert opened.prior is not None
    same(opened.prior, state["prior"])


def test_decoder(opened: OpenModel, state):
    expected = {f"conditioning.{name}": x for name, x in state["text_proj"].items()}
    expected |= {f"unet.{name}": x for name, x in state["decoder"].items()}
    same(opened.decoder, expected)


def test_upsampler(opened: OpenModel, state):
    (upsampler,) = opened.upsamplers
    expected = {f"unet.{name}": x for name, x in state["super_res_first"].items()}
    expected |= {f"last.{name}": x for name, x in state["super_res_last"].items()}
    same(upsampler, expected)


def test_clip(opened: OpenModel, state):
    theirs = rename_hugging_face({**state["text_encoder"], **state["image_encoder"]})
    expected = {name: tensor.half() for name, tensor in theirs.items()}
    same(opened.clip, expected | {"logit_scale": torch.tensor(4.25)})


def test_configs(opened: OpenModel):
    """What the tensors tell and what they do not: Karlo's own numbers."""
    assert opened.prior is not None
    prior, decoder, upsampler = (
        stage.config for stage in (opened.prior, opened.decoder, *opened.upsamplers)
    )
    assert prior["embed_dim"] == prior["text_width"] == 64
    assert [prior[key] for key in ("context_length", "num_layers", "num_heads")] == [12, 2, 2]
    assert prior["diffusion"]["prediction"] == "x_start"
    assert prior["diffusion"]["clip_x_start"] == 10.0
    assert prior["sampling"] == {"num_steps": 25, "guidance_scale": 4.0, "candidates": 1}
    assert decoder["unet"]["channels"] == [64, 128, 192, 256]
    assert decoder["unet"]["context_dim"] == 96
    assert decoder["unet"]["attention"] == [False, True, True, True]
    assert decoder["diffusion"]["variance"] == "learned_range"
    assert decoder["diffusion"]["clip_x_start"] == 1.0
    assert upsampler["unet"]["channels"] == [32, 64, 96, 128]
    assert upsampler["unet"]["in_channels"] == 6
    assert upsampler["unet"]["scale_shift"] is False
    assert upsampler["last_network"] is True
    assert {stage.config["diffusion"]["precision"] for stage in opened.all()[1:]} == {"float64"}
    assert opened.clip.config["activation"] == "quick_gelu"
    assert opened.clip.config["text"]["clean"] == "open_clip"
    assert opened.clip.extra["merges.txt"].count(b"\n") == 700 - 514


def test_full_size_names():
    """Every tensor of the real Karlo has a place of its own; the counts are those of its files."""
    with NoFirstWeights(), torch.device("meta"):
        prior, decoder, upsampler = (
            Prior(PriorConfig()),
            Decoder(DecoderConfig()),
            UpsamplerConfig(),
        )
        unet = UNet(upsampler.unet)
    whitening = {"clip_mean", "clip_std"}
    places = [prior_place(name) for name in prior.state_dict() if name not in whitening]
    assert len(places) == 336
    # 20 blocks keep weight and bias of three matrices in one.
    assert len({place.name for place in places}) == 336 - 20 * 2 * 2
    places = [unet_place(name, decoder.config.unet) for name in decoder.unet.state_dict()]
    places += [conditioning_place(name) for name in decoder.conditioning.state_dict()]
    assert len(places) == 716 + 11
    # 9 + 1 + 12 attentions keep five matrices in two.
    assert len({place.name for place in places}) == 716 + 11 - 22 * 2 * 3
    assert len({(place.name, place.index) for place in places}) == len(places)
    places = [unet_place(name, upsampler.unet) for name in unet.state_dict()]
    assert len({place.name for place in places}) == len(places) == 408


class Copy:
    """A folder that is Kakao's but for one file."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        path.mkdir()
        for name in FILES.values():
            (path / name).symlink_to(folder / name)

    def put(self, part: str, content: object) -> None:
        path = self.path / FILES[part]
        path.unlink()
        torch.save(content, path)

    def open(self, part: str = "") -> object:
        """Opens one stage, or all of them."""
        path = self.path / FILES.get(part, "")
        if part == "prior":
            return open_prior(path, self.path / FILES["statistics"])
        if part == "statistics":
            return open_statistics(path, (1, 64))
        stages = {"decoder": open_decoder, "upsampler": open_upsampler, "clip": open_original_clip}
        return stages.get(part, open_original)(path)

    def refusal(self, *parts: str, part: str = "") -> str:
        with pytest.raises(CheckpointError) as caught:
            self.open(part)
        message = str(caught.value)
        assert message.isprintable()
        assert len(message) < len(str(self.path)) + 1500
        for part in parts:
            assert part in message
        return message


@pytest.fixture
def copy(tmp_path: Path, folder: Path) -> Copy:
    return Copy(tmp_path / "copy", folder)


@pytest.fixture(scope="module")
def contents(state: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """What stands under `state_dict` in the three checkpoints."""
    files = kakao_files.kakao_files(state)
    return {part: files[part]["state_dict"] for part in ("prior", "decoder", "upsampler")}  # pyright: ignore[reportIndexIssue]


class TestFolder:
    def test_is_recognised(self, folder: Path, tmp_path: Path, opened: OpenModel):
        assert is_karlo(folder)
        assert not is_karlo(tmp_path)
        assert open_karlo(folder, "mine").name == "mine"
        assert opened.name == folder.name

    def test_without_a_prior_it_is_for_variations(self, copy: Copy):
        (copy.path / FILES["prior"]).unlink()
        (copy.path / FILES["statistics"]).unlink()
        model = open_original(copy.path)
        assert model.prior is None
        assert len(model.all()) == 3

    @pytest.mark.parametrize("part", ["decoder", "upsampler", "clip", "statistics"])
    def test_a_file_is_missing(self, copy: Copy, part: str):
        (copy.path / FILES[part]).unlink()
        copy.refusal(FILES[part].partition("=")[0][:9], "github.com/kakaobrain/karlo")

    def test_a_file_is_there_twice(self, copy: Copy, folder: Path):
        (copy.path / "decoder-ckpt-step=2.ckpt").symlink_to(folder / FILES["decoder"])
        copy.refusal("has 2 files decoder-ckpt-*.ckpt", "decoder-ckpt-step=2.ckpt", "move")

    def test_files_are_mixed_up(self, copy: Copy, folder: Path):
        (copy.path / FILES["upsampler"]).unlink()
        (copy.path / FILES["upsampler"]).symlink_to(folder / FILES["prior"])
        copy.refusal(FILES["upsampler"], "expected tensors model_first_steps....")

    def test_prior_and_decoder_are_mixed_up(self, copy: Copy, folder: Path):
        (copy.path / FILES["decoder"]).unlink()
        (copy.path / FILES["decoder"]).symlink_to(folder / FILES["prior"])
        copy.refusal(FILES["decoder"], "missing clip_emb.weight")

    def test_truncated(self, copy: Copy):
        path = copy.path / FILES["prior"]
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-1000])
        copy.refusal(FILES["prior"], "damaged", part="prior")

    def test_what_stands_beside_the_state_is_no_weight(self, copy: Copy, contents):
        moments = {"0": torch.zeros(3)}
        copy.put("prior", {"state_dict": contents["prior"], "optimizer": moments, "epoch": 7})
        prior = open_prior(copy.path / FILES["prior"], copy.path / FILES["statistics"])
        assert len(prior.tensors) == len(contents["prior"]) + 2 * 2 * 2 + 2


def changed(state: dict[str, Tensor], change: str, name: str) -> dict[str, Tensor]:
    """A state with one tensor spoilt."""
    state = dict(state)
    tensor = state.pop(name)
    if change == "renamed":
        state[f"{name}s"] = tensor
    elif change == "misshapen":
        state[name] = tensor[:-1]
    elif change == "extra":
        state |= {name: tensor, f"{name}.more": tensor}
    elif change == "repeated":
        state[name] = tensor.reshape(-1)[:1].expand(tensor.numel()).view(tensor.shape)
    elif change == "whole numbers":
        state[name] = tensor.to(torch.int16)
    return state


SPOILT = {
    "missing": "missing {}",
    "renamed": "unknown {}s",
    "misshapen": "{} is (",
    "extra": "unknown {}.more",
    "repeated": "{} fills",
    "whole numbers": "{} is torch.int16",
}
TENSORS = [
    ("prior", "model.", "transformer.resblocks.1.attn.c_qkv.weight"),
    ("prior", "model.", "prd_emb"),
    ("decoder", "model.", "input_blocks.5.1.encoder_kv.weight"),
    ("decoder", "model.", "cf_param"),
    ("upsampler", "model_last_step.", "output_blocks.3.1.in_layers.2.weight"),
]


@pytest.mark.parametrize(
    ("part", "prefix", "name", "change"),
    [(*TENSORS[0], change) for change in SPOILT]
    + [(*tensor, change) for tensor in TENSORS[1:] for change in ("renamed", "misshapen")],
)
def test_a_spoilt_tensor_is_named(
    copy: Copy, contents, part: str, prefix: str, name: str, change: str
):
    copy.put(part, {"state_dict": changed(contents[part], change, prefix + name)})
    message = copy.refusal(FILES[part], part=part)
    assert SPOILT[change].format(name) in message


def test_ten_of_many_are_listed(copy: Copy, contents):
    state = {name: tensor for name, tensor in contents["prior"].items() if ".1." not in name}
    copy.put("prior", {"state_dict": state | {f"model.x{i}": torch.zeros(1) for i in range(30)}})
    message = copy.refusal(FILES["prior"], "and 20 more", part="prior")
    assert message.count("unknown x") == 10


def test_nothing_large_is_built_for_a_damaged_file(copy: Copy, contents):
    """Widths and layers that a small file can claim."""
    wide = torch.zeros(1).expand(2**40, 64)
    copy.put("prior", {"state_dict": contents["prior"] | {"model.clip_img_proj.weight": wide}})
    copy.refusal("clip_img_proj.weight", part="prior")
    layers = {f"model.transformer.resblocks.{i}.x": torch.zeros(1) for i in range(2000)}
    copy.put("prior", {"state_dict": contents["prior"] | layers})
    copy.refusal("has 2040 tensors, at most 2000", part="prior")
    odd = {name: tensor for name, tensor in contents["decoder"].items() if "blocks" not in name}
    odd |= {"model.input_blocks.0.0.weight": torch.zeros(50, 3, 3, 3)}
    copy.put("decoder", {"state_dict": odd})
    copy.refusal(FILES["decoder"], "50 channels do not divide into 32 groups", part="decoder")


class TestClip:
    def spoil(self, copy: Copy, state, **changes: Tensor | None) -> str:
        tensors = kakao_files._clip(state["text_encoder"], state["image_encoder"])
        for name, value in changes.items():
            if value is None:
                del tensors[name.replace("__", ".")]
            else:
                tensors[name.replace("__", ".")] = value
        (copy.path / FILES["clip"]).unlink()
        kakao_files.save_script(copy.path / FILES["clip"], tensors)
        return copy.refusal(FILES["clip"], part="clip")

    def test_tensors_that_do_not_fit(self, copy: Copy, state):
        block = "visual__transformer__resblocks__1__"
        assert "missing visual.ln_pre.bias" in self.spoil(copy, state, visual__ln_pre__bias=None)
        fused = {f"{block}attn__in_proj_weight": torch.zeros(2, 64)}
        assert "attn.in_proj_weight is (2, 64)" in self.spoil(copy, state, **fused)
        odd = {f"{block}mlp__c_fc__weight": torch.zeros(256, 65)}
        assert "mlp.c_fc.weight is (256, 65), expected (256, 64)" in self.spoil(copy, state, **odd)
        assert "visual.proj is (5,)" in self.spoil(copy, state, visual__proj=torch.zeros(5))
        other = self.spoil(copy, state, visual__layer1=torch.zeros(5))
        assert "'visual.layer1' is not part of a CLIP" in other
        scale = self.spoil(copy, state, logit_scale=torch.zeros(5))
        assert "logit_scale is (5,), expected ()" in scale

    def test_masks_are_no_weights(self, copy: Copy, state, opened: OpenModel):
        tensors = kakao_files._clip(state["text_encoder"], state["image_encoder"])
        tensors["transformer.resblocks.0.attn_mask"] = torch.zeros(12, 12)
        (copy.path / FILES["clip"]).unlink()
        kakao_files.save_script(copy.path / FILES["clip"], tensors)
        stage = open_original_clip(copy.path / FILES["clip"])
        assert stage.tensors.keys() == opened.clip.tensors.keys()


class TestStatistics:
    @pytest.mark.parametrize(
        ("content", "found"),
        [
            ((torch.zeros(64),), "0 (64,)"),
            ((torch.zeros(64), torch.zeros(63)), "1 (63,)"),
            ({"mean": torch.zeros(64), "std": torch.zeros(64)}, "mean (64,)"),
            ((torch.zeros(64).int(), torch.zeros(64).int()), "torch.int32"),
            ((), "no tensors"),
        ],
    )
    def test_are_two_rows(self, copy: Copy, content: object, found: str):
        copy.put("statistics", content)
        copy.refusal(
            FILES["statistics"], found, "expected two rows of 64 numbers", part="statistics"
        )


class TestMerges:
    def test_of_the_folder_come_first(self, copy: Copy):
        lines = ["#version: own", *[f"a{i} b" for i in range(186)]]
        with gzip.open(copy.path / OPENAI_MERGES, "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        stage = open_original_clip(copy.path / FILES["clip"])
        assert stage.extra["merges.txt"].startswith(b"a0 b\na1 b\n")

    @pytest.mark.parametrize(
        "content", [b"no gzip", gzip.compress(b"\xff\xfe")], ids=["no gzip", "no UTF-8"]
    )
    def test_that_are_damaged(self, copy: Copy, content: bytes):
        (copy.path / OPENAI_MERGES).write_bytes(content)
        copy.refusal(OPENAI_MERGES, "cannot read the merges", part="clip")

    def test_too_few(self, copy: Copy):
        (copy.path / OPENAI_MERGES).write_bytes(gzip.compress(b"#version: own\na b\n"))
        copy.refusal(FILES["clip"], "at most 1 merges", part="clip")

    def test_nowhere(self, copy: Copy, monkeypatch: pytest.MonkeyPatch):
        # As where open_clip is not installed.
        monkeypatch.setattr("unclip.clip.tokenize.find_spec", lambda name: None)
        copy.refusal(
            OPENAI_MERGES, "put OpenAI's file there", "install open_clip_torch", part="clip"
        )
