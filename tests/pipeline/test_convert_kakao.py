"""Kakao's files converted: straight to ours, and by way of diffusers, with one outcome."""

import copy
from collections.abc import Mapping
from pathlib import Path

import kakao_files
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unclip.karlo.build import Networks, build
from unclip.pipeline.convert import convert, open_source
from unclip.pipeline.pipeline import UnCLIPPipeline

# OpenAI's CLIPs are in TorchScript, which PyTorch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, kakao_folder: Path) -> Path:
    """Kakao's folder, converted in three ways."""
    folder = tmp_path_factory.mktemp("converted")
    source = open_source(kakao_folder, "karlo")
    convert(source, folder / "ours", "unclip")
    notes = convert(source, folder / "theirs", "diffusers")
    told = (
        "schedules in float64",
        "how open_clip reads",
        "the scale of CLIP's cosine, exp(4.2500)",
    )
    assert [note.startswith(start) for note, start in zip(notes, told, strict=True)] == [True] * 3
    convert(open_source(folder / "theirs", "karlo"), folder / "round", "unclip")
    return folder


def tensors(path: Path) -> Mapping[str, Tensor]:
    return load_file(path / "model.safetensors")


def test_both_ways_lead_to_the_same(root: Path):
    for stage in ("clip", "prior", "decoder", "upsampler_256"):
        one, other = tensors(root / "ours" / stage), tensors(root / "round" / stage)
        assert one.keys() == other.keys()
        for name in one:
            # transformers' halves of CLIP have no place for it.
            if name != "logit_scale":
                assert one[name].dtype == other[name].dtype
                assert torch.equal(one[name], other[name]), f"{stage}: {name}"
    assert tensors(root / "ours" / "clip")["logit_scale"] == 4.25


def test_configurations_differ_where_the_layouts_do(root: Path):
    one, other = open_source(root / "ours").model, open_source(root / "round").model
    assert one.licence == other.licence == "creativeml-openrail-m"
    for first, second in zip(one.all()[1:], other.all()[1:], strict=True):
        expected = copy.deepcopy(first.config)
        assert expected["diffusion"]["precision"] == "float64"
        expected["diffusion"]["precision"] = "float32"
        assert second.config == expected
    assert one.prior is not None
    assert one.prior.config["diffusion"]["clip_x_start"] == 10.0
    expected = copy.deepcopy(one.clip.config)
    expected["text"]["clean"] = "hugging_face"
    del expected["fingerprint"]
    found = copy.deepcopy(other.clip.config)
    del found["fingerprint"]
    assert found == expected


def test_weights_are_diffusers(root: Path, kakao_state):
    for part in ("prior", "text_proj", "decoder", "super_res_first", "super_res_last"):
        file = root / "theirs" / part / "diffusion_pytorch_model.safetensors"
        found = load_file(file)
        assert found.keys() == kakao_state[part].keys()
        assert all(torch.equal(found[name], x) for name, x in kakao_state[part].items())


@pytest.mark.slow
@torch.no_grad()
def test_answers_are_diffusers(kakao_folder: Path, root: Path, kakao_state):
    """Kakao's files, ours and diffusers' become networks that answer alike to the last digit, and
    as diffusers' own modules do."""
    made = [
        build(model)
        for model in (
            open_source(kakao_folder).model,
            open_source(root / "ours").model,
            open_source(root / "theirs").model,
        )
    ]
    generator = torch.Generator().manual_seed(0)
    # No level may have as many positions as there are tokens: diffusers would take the mask for one
    # of positions.
    x, embed = torch.randn(2, 3, 24, 24, generator=generator), torch.randn(2, 64)
    answers = [answer(networks, x, embed) for networks in made]
    for other in answers[1:]:
        assert all(torch.equal(*pair) for pair in zip(answers[0], other, strict=True))

    theirs = kakao_files.modules("cpu")
    for part, module in theirs.items():
        module.load_state_dict({name: value.float() for name, value in kakao_state[part].items()})
        module.eval()
    text = made[0].clip.encode_text(["a red cat", ""])
    prior = theirs["prior"](embed, 500, text.embed, text.hidden, text.mask)
    tokens, add = theirs["text_proj"](
        image_embeddings=embed,
        prompt_embeds=text.embed,
        text_encoder_hidden_states=text.hidden,
        do_classifier_free_guidance=False,
    )
    mask = torch.nn.functional.pad(text.mask, (4, 0), value=True)
    decoded = theirs["decoder"](x, 500, tokens, class_labels=add, attention_mask=mask)
    large = torch.cat([x, x], dim=1)
    expected = (
        theirs["text_encoder"](made[0].clip.tokenizer(["a red cat", ""])[0]).text_embeds,
        prior.predicted_image_embedding,
        decoded.sample,
        theirs["super_res_first"](large, 500).sample,
        theirs["super_res_last"](large, 500).sample,
    )
    for found, wanted in zip(answers[0], expected, strict=True):
        assert wanted.std() > 0.01
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def answer(networks: Networks, x: Tensor, embed: Tensor) -> tuple[Tensor, ...]:
    """What each network says of one and the same."""
    clip, prior, decoder, (upsampler,) = networks
    assert prior is not None
    text, times = clip.encode_text(["a red cat", ""]), torch.full((2,), 500)
    large = torch.cat([x, x], dim=1)
    enlarged = [
        upsampler.network(last=last)(large, upsampler.network(last=last).modulations(times, None))
        for last in (False, True)
    ]
    kept = torch.zeros(2, dtype=torch.bool)
    return (
        text.embed,
        prior(embed, times, text.embed, text.hidden, text.mask),
        decoder(x, times, embed, text.embed, text.hidden, text.mask, kept),
        *enlarged,
    )


@pytest.mark.slow
def test_pictures_are_the_same(kakao_folder: Path, root: Path):
    """Two layouts, one pipeline, the same seed: no pixel differs while both reckon alike."""
    from_kakao = UnCLIPPipeline.from_pretrained(kakao_folder, dtype="float32")
    from_ours = UnCLIPPipeline.from_pretrained(root / "ours", dtype="float32")
    settings: dict = {
        "seed": 3,
        "size": 64,
        "prior_num_inference_steps": 2,
        "num_inference_steps": 2,
        "output_type": "pt",
    }
    one, other = (pipe("a red cat", **settings).images for pipe in (from_kakao, from_ours))
    assert torch.equal(one, other)
    assert one.std() > 0.01
