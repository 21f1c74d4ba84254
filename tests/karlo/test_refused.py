"""What a diffusers folder may not say: refused by name, before anything is allocated."""

import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from karlo_folders import Pair
from safetensors.torch import load_file, save_file

from unclip.errors import CheckpointError, ConfigError, UnCLIPError
from unclip.karlo.build import build
from unclip.karlo.load import open_karlo
from unclip.pipeline.pipeline import UnCLIPPipeline

FORBIDDEN = ("socket.connect", "pickle.find_class", "os.system", "subprocess.Popen")
seen: list[str] = []


def watch(event: str, _: tuple[Any, ...]) -> None:
    if event in FORBIDDEN:
        seen.append(event)


sys.addaudithook(watch)


@pytest.fixture(scope="session")
def originals(prompts: Pair, pictures: Pair) -> dict[str, Path]:
    return {"prompts": prompts.folder, "pictures": pictures.folder}


@pytest.fixture
def folder(originals: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(originals["prompts"], tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def variations(originals: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(originals["pictures"], tmp_path / "variations")
    return tmp_path / "variations"


@pytest.fixture(autouse=True)
def nothing_runs() -> Iterator[None]:
    """No module is loaded because a file names it, nothing unpickled, no socket opened."""
    before = set(sys.modules)
    seen.clear()
    yield
    assert not {
        name for name in set(sys.modules) - before if "evil" in name or "antigravity" in name
    }
    assert not seen


def refused(folder: Path, *named: str) -> None:
    with pytest.raises(UnCLIPError) as caught:
        UnCLIPPipeline.from_pretrained(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    for text in named:
        assert text in message, message


def edit(path: Path, **changes: Any) -> None:
    data = json.loads(path.read_text())
    for key, value in changes.items():
        if value is ...:
            del data[key]
        else:
            data[key] = value
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "StableDiffusionPipeline"),
        ({"_class_name": ["os", "system"]}, "a list"),
        ({"prior": ["evil", "Prior"]}, "prior: evil.Prior"),
        ({"prior": ["diffusers", "UNet2DModel"]}, "prior: diffusers.UNet2DModel"),
        ({"text_proj": ["evil.text_proj", "UnCLIPTextProjModel"]}, "text_proj: evil.text_proj"),
        ({"text_proj": [None, None]}, "text_proj: a NoneType.a NoneType"),
        ({"safety_checker": ["evil", "Checker"]}, "safety_checker: evil.Checker"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "auto_map: a dict"),
        ({"custom_pipeline": "../evil"}, "custom_pipeline: ../evil"),
        ({"../decoder": ["diffusers", "UNet2DConditionModel"]}, "../decoder"),
        ({"decoder": ...}, "no decoder"),
    ],
)
def test_an_index(folder: Path, changes: dict[str, Any], named: str) -> None:
    edit(folder / "model_index.json", **changes)
    refused(folder, named, "imported")


CONFIGS: list[tuple[str, dict[str, Any], str]] = [
    ("prior", {"_class_name": "EvilModel"}, "_class_name is 'EvilModel', expected one of Prior"),
    ("prior", {"added_emb_type": None}, "added_emb_type is None"),
    ("prior", {"norm_in_type": "layer"}, "norm_in_type is 'layer'"),
    ("prior", {"time_embed_dim": 100}, "time_embed_dim is 100, expected 24"),
    ("prior", {"additional_embeddings": 3}, "additional_embeddings is 3, expected one of 4"),
    ("prior", {"auto_map": {"AutoModel": "evil.M"}}, "unknown key auto_map"),
    ("prior", {"num_layers": "many"}, "num_layers is 'many'"),
    ("decoder", {"class_embed_type": None}, "class_embed_type is None"),
    ("decoder", {"only_cross_attention": True}, "only_cross_attention is True"),
    ("decoder", {"norm_eps": 1e-6}, "norm_eps is 1e-06, expected 1e-05"),
    ("decoder", {"act_fn": "gelu"}, "act_fn is 'gelu', expected one of silu"),
    ("decoder", {"down_block_types": ["CrossAttnDownBlock2D"] * 3}, "CrossAttnDownBlock2D"),
    ("decoder", {"block_out_channels": [16, 32]}, "down_block_types"),
    ("decoder", {"out_channels": 3}, "out_channels is 3"),
    ("decoder", {"new_option": 1}, "unknown key new_option"),
    ("text_proj", {"time_embed_dim": 12}, "time_embed_dim is 12, expected 64"),
    ("text_proj", {"cross_attention_dim": 5}, "cross_attention_dim is 5, expected 24"),
    ("super_res_first", {"mid_block_type": None}, "mid_block_type is None"),
    ("super_res_first", {"sample_size": None}, "differ in shape"),
    ("super_res_first", {"sample_size": 33}, "differ in shape"),
    ("super_res_last", {"layers_per_block": 2}, "differ in shape"),
    ("super_res_last", {"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift"),
    ("text_encoder", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
    ("text_encoder", {"model_type": "llama"}, "model_type is 'llama'"),
    ("text_encoder", {"eos_token_id": 5}, "eos_token_id is 5, expected 22"),
    ("text_encoder", {"num_attention_heads": 5}, "expected a multiple of text.num_heads 5"),
    ("text_encoder", {"max_position_embeddings": 99}, "model_max_length is 77, expected"),
]


@pytest.mark.parametrize(("component", "changes", "named"), CONFIGS)
def test_a_configuration(folder: Path, component: str, changes: dict[str, Any], named: str) -> None:
    edit(folder / component / "config.json", **changes)
    refused(folder, named)


@pytest.mark.parametrize(
    ("component", "file", "changes", "named"),
    [
        ("prior_scheduler", "scheduler_config.json", {"beta_schedule": "linear"}, "beta_schedule"),
        ("prior_scheduler", "scheduler_config.json", {"_class_name": "DDIMScheduler"}, "DDIM"),
        ("decoder_scheduler", "scheduler_config.json", {"variance_type": "fixed"}, "variance_type"),
        (
            "decoder_scheduler",
            "scheduler_config.json",
            {"variance_type": "fixed_small_log"},
            "out_channels is 6",
        ),
        ("super_res_scheduler", "scheduler_config.json", {"prediction_type": "v"}, "prediction"),
        (
            "tokenizer",
            "tokenizer_config.json",
            {"model_max_length": 512},
            "model_max_length is 512",
        ),
        ("tokenizer", "tokenizer_config.json", {"eos_token": "</s>"}, "eos_token"),
        ("tokenizer", "tokenizer_config.json", {"unk_token": "<none>"}, "no token <none>"),
    ],
)
def test_small_files(
    folder: Path, component: str, file: str, changes: dict[str, Any], named: str
) -> None:
    edit(folder / component / file, **changes)
    refused(folder, named)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"do_center_crop": False}, "do_center_crop is False"),
        ({"resample": 2}, "resample is 2"),
        ({"size": {"shortest_edge": 16}}, "size is"),
        ({"image_mean": [0.5, 0.5]}, "mean"),
        ({"rescale_factor": 1.0}, "rescale_factor is 1.0"),
        ({"do_flip": True}, "unknown key do_flip"),
    ],
)
def test_preparing_pictures(variations: Path, changes: dict[str, Any], named: str) -> None:
    edit(variations / "feature_extractor" / "preprocessor_config.json", **changes)
    refused(variations, named)


def change_weights(
    folder: Path, component: str, change: Callable[[dict[str, torch.Tensor]], object]
) -> Path:
    path = folder / component / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return path


def test_missing_extra_and_misshapen_tensors_are_listed(folder: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["conv_in.bias"]
        tensors["evil\nname"] = torch.zeros(1)
        tensors["conv_out.weight"] = tensors["conv_out.weight"][:, :1].clone()
        tensors["conv_out.bias"] = torch.zeros(6, dtype=torch.int64)

    change_weights(folder, "decoder", change)
    refused(
        folder,
        "missing unet.conv_in.bias",
        "unknown 'unet.evil\\nname'",
        "unet.conv_out.weight is (6, 1, 3, 3), expected (6, 16, 3, 3)",
        "unet.conv_out.bias is torch.int64",
    )


def test_ten_are_named_and_the_rest_counted(folder: Path) -> None:
    change_weights(
        folder, "super_res_last", lambda tensors: [tensors.pop(k) for k in list(tensors)[1:]]
    )
    refused(folder, "missing last.", "more")


def test_one_stage_in_the_place_of_another(folder: Path) -> None:
    source = folder / "super_res_first" / "diffusion_pytorch_model.safetensors"
    shutil.copy(source, folder / "decoder" / source.name)
    refused(folder, "missing unet.down_blocks.1.attentions.0.group_norm.weight", "and 121 more")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_truncated(folder: Path, kept: float) -> None:
    path = folder / "prior" / "diffusion_pytorch_model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused(folder, str(path))


def test_a_header_bomb(folder: Path) -> None:
    path = folder / "prior" / "diffusion_pytorch_model.safetensors"
    with path.open("wb") as file:
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(50_000_000)
    refused(folder, "its header would be 1099511627776 bytes")


class Payload:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("payload-ran", "w"))


@pytest.mark.parametrize("whole", [True, False])
def test_a_pickle(folder: Path, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of `.bin`, as torch.save writes it and bare."""
    monkeypatch.chdir(folder)
    path = folder / "prior" / "diffusion_pytorch_model.bin"
    path.with_suffix(".safetensors").unlink()
    if whole:
        torch.save({"a": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps({"a": Payload()}))
    refused(folder, str(path))
    assert not (folder / "payload-ran").exists()


def test_no_weights(folder: Path) -> None:
    (folder / "prior" / "diffusion_pytorch_model.safetensors").unlink()
    refused(folder, "has no weights, expected diffusion_pytorch_model.safetensors or")


@pytest.mark.parametrize(
    ("content", "named"),
    [("{", "not to be read"), ("[1]", "no keys"), ('{"a": 1, "a": 2}', "stands twice")],
)
def test_broken_json(folder: Path, content: str, named: str) -> None:
    (folder / "prior" / "config.json").write_text(content)
    refused(folder, named)


def test_a_huge_configuration(folder: Path) -> None:
    (folder / "prior" / "config.json").write_text(" " * 1_000_001)
    refused(folder, "more than 1000000 bytes")


def test_all_is_compared_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last stage does not fit: no tensor of the first was loaded."""
    change_weights(folder, "super_res_last", lambda tensors: tensors.pop("conv_in.bias"))
    loads: list[str] = []
    monkeypatch.setattr("unclip.karlo.build.load_as", lambda ref, dtype: loads.append("read"))
    with pytest.raises(CheckpointError, match=r"missing last\.conv_in\.bias"):
        build(open_karlo(folder))
    assert not loads


def test_networks_too_large_for_any_memory(folder: Path) -> None:
    """Made on the meta device, and compared with the file: nothing is allocated."""
    edit(folder / "prior" / "config.json", num_attention_heads=3_000_000)
    refused(folder, "is (1, 81, 24), expected (1, 81, 24000000)")


def test_stages_that_do_not_fit(folder: Path) -> None:
    edit(folder / "prior" / "config.json", embedding_dim=31)
    refused(folder, "the prior's embed_dim is 31, its CLIP's is 32")


def test_vocabularies(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    edit(path, model={"type": "Unigram"})
    with pytest.raises(ConfigError, match="no byte-pair encoding"):
        open_karlo(folder)
    edit(path, model={"type": "BPE", "vocab": {"a": 0}, "merges": []})
    with pytest.raises(CheckpointError, match=r"no token <\|startoftext\|>"):
        open_karlo(folder)
