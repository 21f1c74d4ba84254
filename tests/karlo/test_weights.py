"""One way to open weights, whatever file they are in, and the comparison with what is wanted."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unclip.errors import CheckpointError
from unclip.karlo.weights import below, check_refs, open_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2), "b": torch.ones(1)}


SHARDS = {"x-1-of-2.safetensors": ["a.weight", "b"], "x-2-of-2.safetensors": ["a.bias"]}


def same(path: Path) -> None:
    refs = open_tensors(path)
    assert refs.keys() == TENSORS.keys()
    for name, ref in refs.items():
        assert torch.equal(ref.load(), TENSORS[name])


def refusal(path: Path | str) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_tensors(path)
    message = str(caught.value)
    assert message.isprintable()
    return message


class TestKinds:
    @pytest.mark.parametrize("name", ["x.bin", "x.ckpt", "x.pt", "x.th", "step=01.of=1.2M.ckpt"])
    def test_archives(self, tmp_path: Path, name: str) -> None:
        torch.save(TENSORS, tmp_path / name)
        same(tmp_path / name)

    def test_safetensors(self, tmp_path: Path) -> None:
        save_file(TENSORS, tmp_path / "x.safetensors")
        same(tmp_path / "x.safetensors")
        assert open_tensors(str(tmp_path / "x.safetensors")).keys() == TENSORS.keys()

    @pytest.mark.parametrize("name", ["x", "x.pkl", "x.json", "x.safetensors.bak", "x.index.json"])
    def test_other_names(self, tmp_path: Path, name: str) -> None:
        torch.save(TENSORS, tmp_path / name)
        assert "expected a name that ends in .safetensors" in refusal(tmp_path / name)

    def test_the_contents_must_be_of_the_kind(self, tmp_path: Path) -> None:
        torch.save(TENSORS, tmp_path / "x.safetensors")
        assert "only safetensors is read" in refusal(tmp_path / "x.safetensors")
        save_file(TENSORS, tmp_path / "x.bin")
        assert "none of PyTorch's zip files" in refusal(tmp_path / "x.bin")

    def test_no_file(self, tmp_path: Path) -> None:
        for name in ("x.bin", "x.safetensors", "x.safetensors.index.json"):
            assert "No such file" in refusal(tmp_path / name)


class TestShards:
    def write(self, folder: Path, shards: dict[str, list[str]], index: object = None) -> Path:
        for shard, names in shards.items():
            save_file({name: TENSORS[name] for name in names}, folder / shard)
        where = {name: shard for shard, names in shards.items() for name in names}
        path = folder / "x.safetensors.index.json"
        content = {"metadata": {"total_size": 36}, "weight_map": where} if index is None else index
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def test_all_of_them_are_opened(self, tmp_path: Path) -> None:
        same(self.write(tmp_path, SHARDS))

    def test_as_diffusers_writes_them(self, tmp_path: Path) -> None:
        from diffusers.models.transformers.prior_transformer import PriorTransformer

        prior = PriorTransformer(
            num_attention_heads=2, attention_head_dim=4, num_layers=2, embedding_dim=8
        )
        prior.save_pretrained(tmp_path, max_shard_size="6KB")
        assert len(list(tmp_path.glob("*-of-*.safetensors"))) > 1
        refs = open_tensors(tmp_path / "diffusion_pytorch_model.safetensors.index.json")
        check_refs(refs, prior.state_dict(), "prior")
        assert all(torch.equal(refs[name].load(), t) for name, t in prior.state_dict().items())

    @pytest.mark.parametrize("tensor", ["a.weight", "a.bias", "b"])
    def test_a_missing_tensor(self, tmp_path: Path, tensor: str) -> None:
        path = self.write(tmp_path, SHARDS)
        shard = path.with_name(json.loads(path.read_text())["weight_map"][tensor])
        kept = {name: value.clone() for name, value in load_file(shard).items() if name != tensor}
        save_file(kept, shard)
        message = refusal(path)
        assert f"{shard.name} does not hold what {path.name} says: missing {tensor}" in message

    def test_a_tensor_that_the_index_does_not_name(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, SHARDS)
        about = json.loads(path.read_text())
        del about["weight_map"]["b"]
        path.write_text(json.dumps(about))
        assert "unknown b" in refusal(path)

    def test_a_tensor_in_another_file(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, SHARDS)
        about = json.loads(path.read_text())
        about["weight_map"]["b"] = "x-2-of-2.safetensors"
        path.write_text(json.dumps(about))
        assert "unknown b" in refusal(path)

    def test_the_first_ten_are_listed(self, tmp_path: Path) -> None:
        save_file({str(number): torch.zeros(1) for number in range(14)}, tmp_path / "x.safetensors")
        index = {"weight_map": {"w": "x.safetensors"}}
        path = self.write(tmp_path, {}, index)
        message = refusal(path)
        assert message.count("unknown") == 9
        assert message.endswith("and 5 more")

    @pytest.mark.parametrize(
        "shard",
        [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/x.safetensors",
            "a\\x.safetensors",
            "c:x.safetensors",
            "x.bin",
            "x\0.safetensors",
            "x\x1b[31m.safetensors",
            "",
            3,
            None,
            ["x.safetensors"],
        ],
    )
    def test_only_files_beside_it_are_opened(self, tmp_path: Path, shard: object) -> None:
        save_file(TENSORS, tmp_path / "x.safetensors")
        (tmp_path / "a").mkdir()
        save_file(TENSORS, tmp_path / "a" / "x.safetensors")
        save_file(TENSORS, tmp_path / "x.bin")
        (tmp_path / "inner").mkdir()
        path = self.write(tmp_path / "inner", {}, {"weight_map": {"b": shard}})
        assert "expected the name of a .safetensors file beside it" in refusal(path)
        path = self.write(tmp_path, {}, {"weight_map": {"b": shard}})
        assert "expected the name of a .safetensors file beside it" in refusal(path)

    @pytest.mark.parametrize(
        "index",
        [
            "",
            "[]",
            "3",
            "{}",
            '{"weight_map": {}}',
            '{"weight_map": []}',
            '{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}',
            "[" * 100_000,
        ],
    )
    def test_a_broken_index(self, tmp_path: Path, index: str) -> None:
        assert "x.safetensors.index.json" in refusal(self.write(tmp_path, {}, index))

    def test_an_index_that_is_too_large(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors.index.json"
        path.write_text("{")
        with path.open("r+b") as file:
            file.truncate(30_000_000)
        assert "has 30000000 bytes, at most 25000000" in refusal(path)

    def test_too_many_files(self, tmp_path: Path) -> None:
        index = {"weight_map": {str(n): f"{n}.safetensors" for n in range(1001)}}
        assert "names 1001 files, at most 1000" in refusal(self.write(tmp_path, {}, index))


class TestPrefixes:
    def test_a_prefix_is_taken_off(self, tmp_path: Path) -> None:
        state = {"model.w": torch.ones(1), "model.model.w": torch.ones(2), "other": torch.ones(3)}
        torch.save({"state_dict": state, "epoch": 1}, tmp_path / "x.ckpt")
        refs = below(open_tensors(tmp_path / "x.ckpt"), "state_dict.model.")
        assert {name: ref.shape for name, ref in refs.items()} == {"w": (1,), "model.w": (2,)}


class TestFit:
    def wanted(self) -> dict[str, Tensor]:
        with torch.device("meta"):
            return nn.Linear(3, 2).state_dict()

    def check(self, tmp_path: Path, tensors: dict[str, Tensor], *ignored: str) -> None:
        torch.save(tensors, tmp_path / "x.bin")
        check_refs(open_tensors(tmp_path / "x.bin"), self.wanted(), "prior", ignored=ignored)

    def problems(self, tmp_path: Path, tensors: dict[str, Tensor], *ignored: str) -> str:
        with pytest.raises(CheckpointError, match=r"^prior does not fit its config: ") as caught:
            self.check(tmp_path, tensors, *ignored)
        return str(caught.value).removeprefix("prior does not fit its config: ")

    def test_what_fits(self, tmp_path: Path) -> None:
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            tensors = {"weight": torch.ones(2, 3, dtype=dtype), "bias": torch.ones(2, dtype=dtype)}
            self.check(tmp_path, tensors)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"bias": None}, "missing bias"),
            ({"more": torch.ones(1)}, "unknown more"),
            ({"weight": torch.ones(3, 2)}, "weight is (3, 2), expected (2, 3)"),
            ({"weight": torch.ones(6)}, "weight is (6,), expected (2, 3)"),
            ({"bias": torch.tensor([1, 2])}, "bias is torch.int64, expected torch.float32"),
            ({"bias": torch.tensor([True, False])}, "bias is torch.bool, expected torch.float32"),
        ],
    )
    def test_what_does_not(
        self, tmp_path: Path, change: dict[str, Tensor | None], problem: str
    ) -> None:
        changed = {"weight": torch.ones(2, 3), "bias": torch.ones(2)} | change
        tensors = {name: tensor for name, tensor in changed.items() if tensor is not None}
        assert self.problems(tmp_path, tensors) == problem

    def test_ignored_names(self, tmp_path: Path) -> None:
        tensors = {"weight": torch.ones(2, 3), "bias": torch.ones(2), "ids": torch.arange(3)}
        self.check(tmp_path, tensors, "ids", "absent")
        # What is wanted is never ignored.
        wrong = tensors | {"bias": torch.ones(3)}
        assert "bias is (3,)" in self.problems(tmp_path, wrong, "bias", "ids")

    def test_many_problems(self, tmp_path: Path) -> None:
        tensors = {f"n{number}": torch.ones(1) for number in range(20)}
        message = self.problems(tmp_path, tensors)
        assert message.count(";") == 9
        assert message.endswith("and 12 more")

    def test_names_cannot_write_to_a_terminal(self, tmp_path: Path) -> None:
        tensors = {"weight": torch.ones(2, 3), "bias": torch.ones(2), "\x1b[2J\n": torch.ones(1)}
        assert self.problems(tmp_path, tensors).isprintable()
