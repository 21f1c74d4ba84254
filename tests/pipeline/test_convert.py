"""Converting: what is written is what was read, loads in diffusers, and is whole or not there."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from karlo_like import clip_config, decoder_config, upsampler_config, write_karlo_like
from safetensors.torch import load_file, save_file
from tiny_model import make_model

from decoder.model import Decoder
from unclip.clip.encoder import CLIP
from unclip.clip.features import TextFeatures
from unclip.errors import CheckpointError, ConfigError
from unclip.karlo.build import Networks
from unclip.karlo.clip_components import GivenTensor
from unclip.karlo.expressible import check_expressible
from unclip.karlo.to_diffusers import Writing
from unclip.nn.initialise import NoFirstWeights
from unclip.pipeline.convert import convert, open_source, parse_bytes
from unclip.pipeline.folders import write_model
from unclip.pipeline.registry import Components, take_apart
from upsamplers.model import Upsampler

PROMPTS = ["a red cat", "", "far too many words to fit into so few tokens " * 4]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def made(root: Path) -> Components:
    return write_karlo_like(root / "ours")


@pytest.fixture(scope="module")
def ours(root: Path, made: Components) -> Path:
    return root / "ours"


@pytest.fixture(scope="module")
def theirs(root: Path, ours: Path) -> Path:
    convert(open_source(ours), root / "theirs", "diffusers")
    return root / "theirs"


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """All tensors of a model, by the files that they are in."""
    files = sorted(folder.rglob("*.safetensors"))
    assert files
    return {file.relative_to(folder).as_posix(): load_file(file) for file in files}


def same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for file, tensors in first.items():
        assert tensors.keys() == second[file].keys()
        for name, tensor in tensors.items():
            assert tensor.dtype == second[file][name].dtype
            assert torch.equal(tensor, second[file][name]), f"{file}: {name}"


class TestLoadsInDiffusers:
    """Component by component, with the same answers as ours; nothing missing, nothing left over."""

    def loaded(self, kind: Any, folder: Path) -> Any:
        module, info = kind.from_pretrained(folder, output_loading_info=True)
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        return module.eval()

    @torch.no_grad()
    def test_text_encoder_and_tokenizer(self, theirs: Path, made: Components):
        folder = theirs / "text_encoder"
        tower = self.loaded(transformers.CLIPTextModelWithProjection, folder)
        tokenizer = transformers.CLIPTokenizer.from_pretrained(theirs / "tokenizer")
        found = tokenizer(
            PROMPTS, padding="max_length", max_length=12, truncation=True, return_tensors="pt"
        )
        ids, mask = made.clip.tokenizer(PROMPTS)
        assert torch.equal(found.input_ids, ids)
        assert torch.equal(found.attention_mask.bool(), mask)
        assert tokenizer.model_max_length == 12
        features = made.clip.encode_text(PROMPTS)
        answer = tower(found.input_ids)
        torch.testing.assert_close(features.embed, answer.text_embeds, atol=1e-5, rtol=0)
        torch.testing.assert_close(features.hidden, answer.last_hidden_state, atol=1e-5, rtol=0)

    @torch.no_grad()
    def test_image_encoder_and_preprocessing(self, theirs: Path, made: Components):
        folder = theirs / "image_encoder"
        tower = self.loaded(transformers.CLIPVisionModelWithProjection, folder)
        processor = transformers.CLIPImageProcessor.from_pretrained(theirs / "feature_extractor")
        picture = (torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255).byte()
        pixels = processor(images=picture, return_tensors="pt").pixel_values
        answer = tower(pixels).image_embeds
        embed = made.clip.encode_image(picture[None].float() / 127.5 - 1)
        torch.testing.assert_close(embed, answer, atol=1e-5, rtol=0)

    @torch.no_grad()
    def test_prior(self, theirs: Path, made: Components):
        assert made.prior is not None
        prior = self.loaded(PriorTransformer, theirs / "prior")
        text, x = made.clip.encode_text(PROMPTS), torch.randn(3, 24)
        answer = prior(x, 500, text.embed, text.hidden, text.mask).predicted_image_embedding
        mine = made.prior(x, torch.full((3,), 500), text.embed, text.hidden, text.mask)
        torch.testing.assert_close(mine, answer, atol=1e-5, rtol=0)
        torch.testing.assert_close(made.prior.unwhiten(x), prior.post_process_latents(x))

    @torch.no_grad()
    def test_decoder(self, theirs: Path, made: Components):
        unet = self.loaded(UNet2DConditionModel, theirs / "decoder")
        projection = self.loaded(UnCLIPTextProjModel, theirs / "text_proj")
        text = made.clip.encode_text(PROMPTS)
        x, embed = torch.randn(3, 3, 16, 16), torch.randn(3, 24)
        tokens, add = projection(
            image_embeddings=embed,
            prompt_embeds=text.embed,
            text_encoder_hidden_states=text.hidden,
            do_classifier_free_guidance=False,
        )
        mask = torch.nn.functional.pad(text.mask, (3, 0), value=True)
        answer = unet(x, 500, tokens, class_labels=add, attention_mask=mask).sample
        mine = self.decode(made, x, embed, text)
        torch.testing.assert_close(mine, answer, atol=1e-5, rtol=0)

    def decode(self, made: Components, x: torch.Tensor, embed: torch.Tensor, text: TextFeatures):
        times, kept = torch.full((3,), 500), torch.zeros(3, dtype=torch.bool)
        return made.decoder(x, times, embed, text.embed, text.hidden, text.mask, kept)

    @torch.no_grad()
    @pytest.mark.parametrize(
        ("name", "last"), [("super_res_first", False), ("super_res_last", True)]
    )
    def test_upsampler(self, theirs: Path, made: Components, name: str, last: bool):
        unet = self.loaded(UNet2DModel, theirs / name)
        (upsampler,) = made.upsamplers
        x = torch.randn(2, 6, 32, 32)
        mine = upsampler.network(last=last)
        modulations = mine.modulations(torch.full((2,), 500), None)
        torch.testing.assert_close(mine(x, modulations), unet(x, 500).sample, atol=1e-5, rtol=0)
        assert unet.config.sample_size == 32

    def test_schedulers(self, theirs: Path):
        expected = {
            "prior": ("sample", "fixed_small_log", 7.5),
            "decoder": ("epsilon", "learned_range", 1.0),
            "super_res": ("epsilon", "fixed_small_log", 1.0),
        }
        for name, numbers in expected.items():
            # Its from_pretrained is declared to return a pair.
            kind: Any = UnCLIPScheduler
            config = kind.from_pretrained(theirs / f"{name}_scheduler").config
            assert config["clip_sample"] is True
            keys = ("prediction_type", "variance_type", "clip_sample_range")
            assert tuple(config[key] for key in keys) == numbers

    def test_index(self, theirs: Path):
        index = json.loads((theirs / "model_index.json").read_text())
        assert index.pop("_class_name") == "UnCLIPPipeline"
        assert index.pop("_diffusers_version") == "0.42.1"
        assert index.pop("text_proj") == ["unclip", "UnCLIPTextProjModel"]
        assert {name for name in index if not (theirs / name).is_dir()} == set()
        assert index["prior"] == ["diffusers", "PriorTransformer"]
        assert index["tokenizer"] == ["transformers", "CLIPTokenizer"]
        assert index["image_encoder"] == ["transformers", "CLIPVisionModelWithProjection"]


class TestRoundTrips:
    def test_ours_to_diffusers_to_ours(self, ours: Path, theirs: Path, tmp_path: Path):
        convert(open_source(theirs), tmp_path / "back", "unclip")
        same_weights(ours, tmp_path / "back")
        before, after = open_source(ours).model, open_source(tmp_path / "back").model
        assert after.clip.config["fingerprint"] == before.clip.config["fingerprint"]
        for one, other in zip(before.all(), after.all(), strict=True):
            config = json.loads(json.dumps(one.config).replace('"float64"', '"float32"'))
            assert other.config == config
            assert other.metadata == one.metadata
            assert other.extra == one.extra

    def test_diffusers_to_ours_to_diffusers(self, theirs: Path, tmp_path: Path):
        convert(open_source(theirs), tmp_path / "ours", "unclip")
        convert(open_source(tmp_path / "ours"), tmp_path / "again", "diffusers")
        same_weights(theirs, tmp_path / "again")
        files = {path.relative_to(theirs) for path in theirs.rglob("*.json")}
        assert files == {
            p.relative_to(tmp_path / "again") for p in tmp_path.rglob("again/**/*.json")
        }
        for file in files:
            text = (tmp_path / "again" / file).read_text(encoding="utf-8")
            assert text == (theirs / file).read_text(encoding="utf-8"), file

    def test_what_diffusers_saves_itself(self, theirs: Path, tmp_path: Path):
        """The tensors as diffusers' own save_pretrained writes them, file by file."""
        for kind, name in (
            (PriorTransformer, "prior"),
            (UNet2DConditionModel, "decoder"),
            (transformers.CLIPTextModelWithProjection, "text_encoder"),
        ):
            kind.from_pretrained(theirs / name).save_pretrained(tmp_path / name)
            same_weights(theirs / name, tmp_path / name)


class TestStored:
    def test_in_another_precision(self, ours: Path, tmp_path: Path):
        dtype = torch.float16
        notes = convert(open_source(ours), tmp_path / "to", "diffusers", writing=Writing(dtype))
        assert any("float64" in note for note in notes)
        convert(open_source(ours), tmp_path / "half", "unclip", writing=Writing(dtype))
        for folder in ("to", "half"):
            for tensors in weights(tmp_path / folder).values():
                assert {tensor.dtype for tensor in tensors.values()} == {dtype}
        before = weights(ours)["prior/model.safetensors"]
        after = weights(tmp_path / "half")["prior/model.safetensors"]
        assert all(torch.equal(after[name], before[name].to(dtype)) for name in before)
        # A CLIP keeps its name, whatever it is stored in.
        config = open_source(tmp_path / "half").model.clip.config
        assert config["fingerprint"] == open_source(ours).model.clip.config["fingerprint"]

    def test_in_shards(self, ours: Path, theirs: Path, tmp_path: Path):
        writing = Writing(shard_bytes=20_000)
        convert(open_source(ours), tmp_path / "to", "diffusers", writing=writing)
        files = sorted((tmp_path / "to" / "prior").glob("*.safetensors"))
        count = len(files)
        assert count > 1
        stem = "diffusion_pytorch_model"
        assert files[0].name == f"{stem}-00001-of-{count:05d}.safetensors"
        index = json.loads((files[0].parent / f"{stem}.safetensors.index.json").read_text())
        tensors = {name: x for file in files for name, x in load_file(file).items()}
        assert index["metadata"]["total_size"] == sum(x.nbytes for x in tensors.values())
        assert set(index["weight_map"].values()) == {file.name for file in files}
        largest = max(x.nbytes for x in tensors.values())
        assert all(file.stat().st_size < max(20_000, largest) + 3_000 for file in files)
        convert(open_source(tmp_path / "to"), tmp_path / "whole", "diffusers")
        same_weights(theirs, tmp_path / "whole")
        for kind, name in (
            (PriorTransformer, "prior"),
            (UNet2DConditionModel, "decoder"),
            (transformers.CLIPVisionModelWithProjection, "image_encoder"),
        ):
            one = kind.from_pretrained(tmp_path / "to" / name).state_dict()
            other = kind.from_pretrained(theirs / name).state_dict()
            assert all(torch.equal(one[key], other[key]) for key in other)

    def test_our_layout_has_no_shards(self, ours: Path, tmp_path: Path):
        with pytest.raises(ConfigError, match="one file a stage: leave --shard-size out"):
            convert(open_source(ours), tmp_path / "x", "unclip", writing=Writing(shard_bytes=9))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("text", "size"), [("2GB", 2 * 10**9), ("1.5 MiB", 3 * 2**19), ("300", 300), ("7kb", 7000)]
    )
    def test_sizes(self, text: str, size: int):
        assert parse_bytes(text) == size

    @pytest.mark.parametrize("text", ["", "GB", "2TB", "-1GB", "0.1", "2GBs", "1e9"])
    def test_what_is_no_size(self, text: str):
        with pytest.raises(ConfigError, match="is no size of a file: write 2GB"):
            parse_bytes(text)


class TestRefused:
    """Nothing is written of what diffusers has no place for."""

    def refusal(self, source: Path, tmp_path: Path, layout: str = "diffusers") -> str:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(CheckpointError) as caught:
            convert(open_source(source), tmp_path / "to", layout)  # pyright: ignore[reportArgumentType]
        assert sorted(tmp_path.iterdir()) == before
        message = str(caught.value)
        assert message.isprintable()
        return message

    def test_our_features_are_named(self, tmp_path: Path):
        message = self.refusal(make_model(tmp_path / "tiny"), tmp_path)
        for feature in (
            "an upsampler to 1024 px after the first",
            "prior: text_width 16 other than embed_dim 12",
            "decoder: a learned text null",
            "decoder: unshuffle",
            "decoder: v-prediction",
            "decoder: a variance that is not learned",
            "upsampler: told augmentation",
            "upsampler: scale_shift True",
            "upsampler: refine_channels",
            "--to unclip",
        ):
            assert feature in message, feature

    @pytest.mark.parametrize(
        ("change", "feature"),
        [
            ({"decoder": {"learned_text_null": True}}, "decoder: a learned text null"),
            ({"decoder": {"text_layers": 1, "text_heads": 1}}, "decoder: blocks over the text"),
            ({"unet": {"positions": 16}}, "decoder: positions"),
            ({"unet": {"extra_channels": 1}}, "decoder: extra input channels"),
            ({"unet": {"attention": (True, True)}}, "decoder: attention on other levels .*"),
            ({"unet": {"middle_attention": False}}, "decoder: a middle without attention"),
            ({"diffusion": {"shift": 1.0}}, "decoder: a schedule shifted by 1"),
            ({"diffusion": {"schedule": "linear"}}, "decoder: the linear schedule"),
            ({"diffusion": {"prediction": "v"}}, "decoder: v-prediction"),
            ({"decoder": {"text_width": 8}}, "decoder: text_width 8 other than embed_dim 24"),
        ],
    )
    def test_one_feature(self, made: Components, change: dict[str, Any], feature: str):
        config = decoder_config()
        config = replace(
            config,
            unet=replace(config.unet, **change.get("unet", {})),
            diffusion=replace(config.diffusion, **change.get("diffusion", {})),
            **change.get("decoder", {}),
        )
        with NoFirstWeights(), torch.device("meta"):
            decoder = Decoder(config)
        networks = Networks(made.clip, made.prior, decoder, made.upsamplers)
        with pytest.raises(CheckpointError, match=f"no place for: {feature}\\. Keep it"):
            check_expressible(networks, "mine")
        check_expressible(Networks(*made), "mine")

    def test_models_of_other_parts(self, made: Components):
        for networks, feature in (
            (Networks(made.clip, made.prior, made.decoder, ()), "a model without an upsampler"),
            (
                Networks(CLIP(clip_config(text_only=True), made.clip.tokenizer), None, *made[2:]),
                "a model with neither a prior nor an image tower",
            ),
        ):
            with pytest.raises(CheckpointError, match=feature):
                check_expressible(networks, "mine")

    def test_numbers_that_float16_cannot_hold(self, root: Path, ours: Path, tmp_path: Path):
        model = open_source(ours)
        large = GivenTensor(torch.full((24,), 1e6))
        tensors = {**model.model.decoder.tensors}
        tensors["conditioning.learned_classifier_free_guidance_embeddings"] = large
        changed = replace(model.model, decoder=replace(model.model.decoder, tensors=tensors))
        source = replace(model, model=changed)
        for layout in ("unclip", "diffusers"):
            with pytest.raises(CheckpointError, match="larger than float16 can hold"):
                convert(source, tmp_path / "to", layout, writing=Writing(torch.float16))
            assert list(tmp_path.iterdir()) == []

    def test_a_damaged_source(self, ours: Path, tmp_path: Path):
        shutil.copytree(ours, tmp_path / "copy")
        path = tmp_path / "copy" / "decoder" / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
            open_source(tmp_path / "copy")

    def test_weights_that_do_not_fit(self, theirs: Path, tmp_path: Path):
        shutil.copytree(theirs, tmp_path / "copy")
        path = tmp_path / "copy" / "prior" / "diffusion_pytorch_model.safetensors"
        tensors = load_file(path)
        del tensors["prd_embedding"]
        save_file(tensors, path)
        with pytest.raises(CheckpointError, match="missing prd_embedding"):
            open_source(tmp_path / "copy")

    def test_a_place_within_the_source(self, ours: Path, tmp_path: Path):
        shutil.copytree(ours, tmp_path / "m")
        for place in (tmp_path / "m", tmp_path / "m" / "inner", tmp_path):
            with pytest.raises(CheckpointError, match="lie in each other"):
                convert(open_source(tmp_path / "m"), place, "unclip", force=True)
        same_weights(ours, tmp_path / "m")


class TestOtherModels:
    def test_of_image_variations(self, ours: Path, tmp_path: Path):
        """Without a prior: diffusers' other pipeline, and back."""
        model = open_source(ours)
        alone = replace(model, model=replace(model.model, prior=None))
        alone = replace(alone, networks=model.networks._replace(prior=None))
        convert(alone, tmp_path / "to", "diffusers")
        index = json.loads((tmp_path / "to" / "model_index.json").read_text())
        assert index["_class_name"] == "UnCLIPImageVariationPipeline"
        assert not {"prior", "prior_scheduler"} & index.keys()
        convert(open_source(tmp_path / "to"), tmp_path / "back", "unclip")
        assert open_source(tmp_path / "back").model.prior is None
        before, after = weights(ours), weights(tmp_path / "back")
        assert before.keys() - after.keys() == {"prior/model.safetensors"}

    def test_without_an_image_tower(self, made: Components, tmp_path: Path):
        clip = CLIP(clip_config(text_only=True), made.clip.tokenizer)
        clip.load_state_dict(
            {name: x for name, x in made.clip.state_dict().items() if "image." not in name}
        )
        write_model(tmp_path / "ours", take_apart(made._replace(clip=clip), "text", {}))
        convert(open_source(tmp_path / "ours"), tmp_path / "to", "diffusers")
        assert not (tmp_path / "to" / "image_encoder").exists()
        convert(open_source(tmp_path / "to"), tmp_path / "back", "unclip")
        same_weights(tmp_path / "ours", tmp_path / "back")

    def test_one_network_for_all_steps(self, made: Components, tmp_path: Path):
        upsampler = Upsampler(upsampler_config(last_network=False))
        tensors = made.upsamplers[0].state_dict()
        upsampler.load_state_dict({k: x for k, x in tensors.items() if k.startswith("unet.")})
        write_model(tmp_path / "m", take_apart(made._replace(upsamplers=(upsampler,)), "one", {}))
        convert(open_source(tmp_path / "m"), tmp_path / "to", "diffusers")
        file = "diffusion_pytorch_model.safetensors"
        first, last = (
            load_file(tmp_path / "to" / f"super_res_{name}" / file) for name in ("first", "last")
        )
        assert first.keys() == last.keys()
        assert all(torch.equal(first[name], last[name]) for name in first)

    def test_the_licence_goes_along(self, ours: Path, theirs: Path, tmp_path: Path):
        """What comes in diffusers' layout is Karlo's; its licence stands in index and card."""
        shutil.copytree(theirs, tmp_path / "karlo")
        (tmp_path / "karlo" / "LICENSE").write_text("use restrictions")
        convert(open_source(tmp_path / "karlo"), tmp_path / "mine", "unclip")
        assert open_source(tmp_path / "mine").model.licence == "creativeml-openrail-m"
        assert "license: creativeml-openrail-m\n" in (tmp_path / "mine" / "README.md").read_text()
        assert (tmp_path / "mine" / "LICENSE").read_text() == "use restrictions"
        convert(open_source(tmp_path / "mine"), tmp_path / "to", "diffusers")
        assert (tmp_path / "to" / "LICENSE").read_text() == "use restrictions"
        assert open_source(ours).model.licence is None
