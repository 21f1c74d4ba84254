"""PyTorch's archives: what torch.load and torch.jit.load find in them is found, nothing else."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from archives import STORAGES, Call, StorageId, described, view, write_archive
from torch import Tensor, nn
from torch._utils import _rebuild_parameter

from unclip.errors import CheckpointError
from unclip.karlo.archive import MAX_NESTING, flatten, open_archive


def same(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.stride() == expected.stride()
    assert torch.equal(found, expected)


def saved(tmp_path: Path, value: object) -> Path:
    torch.save(value, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def compare(path: Path, expected: dict[str, Tensor]) -> None:
    refs = open_archive(path)
    assert list(refs) == list(expected)
    for name, ref in refs.items():
        assert ref.dtype == expected[name].dtype
        assert ref.shape == tuple(expected[name].shape)
        same(ref.load(), expected[name])


def refusal(path: Path, *parts: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_archive(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < len(str(path)) + 400
    for part in (path.name, *parts):
        assert part in message
    return message


DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


class TestTorchSave:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_type(self, tmp_path: Path, dtype: torch.dtype) -> None:
        tensor = (torch.randn(3, 4) * 5).to(dtype)
        compare(saved(tmp_path, {"w": tensor}), {"w": tensor})

    def test_views(self, tmp_path: Path) -> None:
        base = torch.randn(4, 6)
        views = {
            "whole": base,
            "transposed": base.T,
            "row": base[2],
            "column": base[:, 3],
            "every other": base[1::2, ::3],
            "scalar": base[3, 5],
            "expanded": base[:1].expand(7, 6),
            "nothing": base[:0],
            "no rows": torch.empty(0, 3),
            "squeezed in": base[None, :, None],
            "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        }
        path = saved(tmp_path, views)
        compare(path, views)
        compare(path, torch.load(path))

    def test_shared_storages_stay_shared(self, tmp_path: Path) -> None:
        base = torch.arange(6.0)
        refs = open_archive(saved(tmp_path, {"a": base, "b": base[2:], "c": torch.arange(6.0)}))
        a, b, c = (refs[name].load() for name in "abc")
        assert a[2:].data_ptr() == b.data_ptr()
        assert a.data_ptr() != c.data_ptr()
        # A tensor owns no more than itself: whoever saves or counts it gets its own size.
        assert b.untyped_storage().nbytes() == 16

    def test_writing_into_a_tensor_changes_no_file(self, tmp_path: Path) -> None:
        path = saved(tmp_path, {"w": torch.zeros(3)})
        before = path.read_bytes()
        ref = open_archive(path)["w"]
        ref.load().fill_(7)
        assert path.read_bytes() == before
        assert open_archive(path)["w"].load().tolist() == [0, 0, 0]

    def test_a_training_checkpoint(self, tmp_path: Path) -> None:
        """Lightning's form: a state_dict, with plain values beside it."""
        module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        content = {
            "epoch": 3,
            "global_step": 2**40,
            "rate": 1e-4,
            "names": ["a", None, True, (1, 2)],
            "state_dict": module.state_dict(),
            "optimizer_states": [{"state": {0: {"step": torch.tensor(5.0)}}, "groups": []}],
        }
        expected = {f"state_dict.{name}": value for name, value in module.state_dict().items()}
        expected["optimizer_states.0.state.0.step"] = torch.tensor(5.0)
        compare(saved(tmp_path, content), expected)

    def test_parameters_are_tensors(self, tmp_path: Path) -> None:
        parameter = nn.Parameter(torch.randn(2, 3))
        path = saved(tmp_path, OrderedDict(w=parameter))
        compare(path, {"w": parameter.detach()})
        assert not open_archive(path)["w"].load().requires_grad

    def test_a_tuple(self, tmp_path: Path) -> None:
        """Karlo's statistics: (mean, standard deviation)."""
        mean, std = torch.randn(768), torch.rand(768)
        compare(saved(tmp_path, (mean, std)), {"0": mean, "1": std})

    def test_one_tensor_under_two_names(self, tmp_path: Path) -> None:
        tensor = torch.randn(2)
        compare(saved(tmp_path, {"a": tensor, "b": tensor}), {"a": tensor, "b": tensor})

    def test_no_tensors(self, tmp_path: Path) -> None:
        compare(saved(tmp_path, {"epoch": 1}), {})

    def test_without_checksums(self, tmp_path: Path) -> None:
        torch.serialization.set_crc32_options(False)
        try:
            compare(saved(tmp_path, {"w": torch.ones(2)}), {"w": torch.ones(2)})
        finally:
            torch.serialization.set_crc32_options(True)

    def test_without_a_byte_order(self, tmp_path: Path) -> None:
        """As PyTorch wrote before 2.1."""
        path = write_archive(tmp_path / "x.bin", {"w": view()}, entries={})
        compare(path, {"w": torch.arange(6.0).view(2, 3)})

    def test_the_old_format_is_told_apart(self, tmp_path: Path) -> None:
        torch.save({"w": torch.ones(2)}, tmp_path / "x.bin", _use_new_zipfile_serialization=False)
        refusal(tmp_path / "x.bin", "before 1.6", "save it again")

    @pytest.mark.parametrize(
        ("value", "named"),
        [
            (torch.zeros(2, dtype=torch.complex64), "torch.ComplexFloatStorage"),
            (torch.zeros(2).to(torch.float8_e4m3fn), "torch._utils._rebuild_tensor_v3"),
            (torch.eye(2).to_sparse(), "torch._utils._rebuild_sparse_tensor"),
            (b"bytes", "_codecs.encode"),
            ({1, 2}, "__builtin__.set"),
            (torch.device("cpu"), "torch.device"),
            (torch.float16, "torch.float16"),
            (Path("/"), "pathlib.PosixPath"),
            (nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        ],
    )
    def test_what_is_no_tensor_is_refused_by_name(
        self, tmp_path: Path, value: object, named: str
    ) -> None:
        refusal(saved(tmp_path, {"w": torch.zeros(1), "x": value}), f"asks for {named},")


class Scaled(nn.Module):
    """With attributes of every kind that TorchScript has."""

    sizes: list[int]
    rates: list[float]
    flags: list[bool]
    nested: dict[str, list[int]]

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 2))
        self.register_buffer("steps", torch.arange(3))
        self.sizes, self.rates, self.flags = [1, 2**40], [0.5], [True, False]
        self.nested = {"a": [1], "b": []}
        self.input_resolution: int = 224
        self.scale: float = 2.5
        self.name: str = "scaled"
        self.nothing: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T * self.scale


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 2).half()
        self.blocks = nn.Sequential(Scaled(), nn.Sequential(nn.ReLU(), nn.LayerNorm(3)))
        self.context_length: int = 77

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.embed(x.half()).float())


# OpenAI's CLIPs are in TorchScript, which PyTorch deprecates.
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
class TestTorchScript:
    def compare(self, path: Path) -> None:
        expected = torch.jit.load(path).state_dict()
        refs = open_archive(path)
        assert refs.keys() == expected.keys()
        for name, ref in refs.items():
            same(ref.load(), expected[name])

    def test_a_scripted_module(self, tmp_path: Path) -> None:
        tower = Tower()
        tower.tied = tower.embed.weight
        torch.jit.save(torch.jit.script(tower), tmp_path / "x.pt")
        self.compare(tmp_path / "x.pt")
        assert {"tied", "blocks.0.steps"} <= open_archive(tmp_path / "x.pt").keys()

    def test_a_traced_module(self, tmp_path: Path) -> None:
        torch.jit.save(torch.jit.trace(Tower(), torch.ones(1, 2)), tmp_path / "x.pt")
        self.compare(tmp_path / "x.pt")

    def test_numbers_that_became_tensors(self, tmp_path: Path) -> None:
        """OpenAI's ViT-L-14.pt has `input_resolution` and others among its tensors."""
        module = nn.Linear(2, 2)
        module.register_buffer("input_resolution", torch.tensor(224))
        torch.jit.save(torch.jit.script(module), tmp_path / "x.pt")
        ref = open_archive(tmp_path / "x.pt")["input_resolution"]
        assert (ref.shape, ref.load().item()) == ((), 224)

    def test_state_that_is_no_dict(self, tmp_path: Path) -> None:
        """A class that sets itself up by code of its own."""

        class Packed(nn.Module):
            # TorchScript's states are of any type, nn.Module's are dicts.
            @torch.jit.export
            def __getstate__(self) -> tuple[Tensor, bool]:  # pyright: ignore[reportIncompatibleMethodOverride]
                return torch.zeros(1), self.training

            @torch.jit.export
            def __setstate__(self, state: tuple[Tensor, bool]) -> None:
                self.training = state[1]

        torch.jit.save(torch.jit.script(Packed()), tmp_path / "x.pt")
        refusal(tmp_path / "x.pt", "asks for an object to be set up with a tuple")


class TestPlaces:
    """Descriptions that torch.save does not write: within the file, or refused."""

    @pytest.mark.parametrize(
        "tensor",
        [
            view((2, 3), (3, 1), 1),
            view((7,), (1,)),
            view((2, 3), (4, 1)),
            view((2, 2), (5, 1)),
            view((), (), 6),
            view((2**40,), (1,)),
            view((2,), (2**40,)),
            view((2**62, 2**62), (1, 1)),
            view((2**20, 2**20, 2**20), (0, 0, 0)),
            view((0, 2**40, 2**40), (1, 1, 1)),
            view((-1,), (1,)),
            view((2,), (-1,), 3),
            view((2, 3), (3, 1), -1),
            view((2, 3), (3, 1), 2**70),
            view((2, 3), (3,)),
            view((0,), (1, 1)),
            view((1,) * 65, (1,) * 65),
            view((2, True), (3, 1)),
            view((2.0, 3), (3, 1)),
            view(("2", 3), (3, 1)),
            view(6, 1),
            view((6,), (1,), None),
            view((6,), (1,), storage=[0.0] * 6),
            Call(_rebuild_parameter),
            Call(OrderedDict, [("a", 1)]),
        ],
    )
    def test_tensors_that_cannot_be(self, tmp_path: Path, tensor: Call) -> None:
        refusal(write_archive(tmp_path / "x.bin", {"w": tensor}))

    @pytest.mark.parametrize(
        ("storage", "said"),
        [
            (StorageId(count=7), "24 bytes"),
            (StorageId(count=5), "24 bytes"),
            (StorageId(count=-6), "24 bytes"),
            (StorageId(count=2**70), "24 bytes"),
            (StorageId(kind=torch.DoubleStorage), "24 bytes"),
            (StorageId(count=6.0), "in a way"),
            (StorageId(key=0), "in a way"),
            (StorageId(kind="FloatStorage"), "in a way"),
            (StorageId(kind=OrderedDict), "in a way"),
            (StorageId(key="1"), "lacks data/1"),
            (StorageId(key="../data.pkl"), "lacks data/../data.pkl"),
            (StorageId(key="/etc/passwd"), "lacks data//etc/passwd"),
            (StorageId(key="\n" * 500), "lacks data/'\\n"),
        ],
    )
    def test_storages_that_are_not_there(
        self, tmp_path: Path, storage: StorageId, said: str
    ) -> None:
        refusal(write_archive(tmp_path / "x.bin", {"w": view(storage=storage)}), said)

    @pytest.mark.parametrize(
        "identity", ["0", ("module", torch.FloatStorage, "0", "cpu", 6), ("storage",), None, ()]
    )
    def test_ids_that_are_no_storages(self, tmp_path: Path, identity: object) -> None:
        storage = StorageId()
        storage.identity = identity
        path = write_archive(tmp_path / "x.bin", described({"w": view(storage=storage)}))
        refusal(path, "by an id that is no storage's" if identity else "")

    def test_a_big_endian_file(self, tmp_path: Path) -> None:
        path = write_archive(tmp_path / "x.bin", {"w": view()}, entries={"byteorder": b"big"})
        refusal(path, "byte order b'big', expected little")

    def test_the_whole_storage_and_no_more(self, tmp_path: Path) -> None:
        path = write_archive(tmp_path / "x.bin", {"a": view(), "b": view((), (), 5)})
        compare(path, {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(5.0)})


class TestTrees:
    def test_two_tensors_of_one_name(self, tmp_path: Path) -> None:
        path = saved(tmp_path, {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}})
        refusal(path, "two tensors of the name a.b")

    def test_containers_that_hold_themselves(self, tmp_path: Path) -> None:
        for count in (1, 1000):
            knot: list[object] = []
            knot.extend([knot] * count)
            refusal(write_archive(tmp_path / "x.bin", knot), "nests its tensors beyond reason")

    def test_containers_that_repeat_each_other(self, tmp_path: Path) -> None:
        tree: object = "x"
        for _ in range(30):
            tree = [tree, tree]
        refusal(write_archive(tmp_path / "x.bin", tree), "nests its tensors beyond reason")

    def test_depth(self) -> None:
        tree: object = 1
        for _ in range(MAX_NESTING):
            tree = [tree]
        assert flatten(tree, "x") == {}
        with pytest.raises(CheckpointError, match="beyond reason"):
            flatten([tree], "x")

    def test_long_names_are_not_multiplied(self, tmp_path: Path) -> None:
        tree: object = 1
        for _ in range(3):
            tree = {"n" * 400: tree}
        refusal(write_archive(tmp_path / "x.bin", tree), "by more than 1000 characters")


class TestOtherFiles:
    def test_a_description_that_has_changed(self, tmp_path: Path) -> None:
        """Transposed by one byte, it would still describe a tensor that can be."""
        torch.save({"w": torch.arange(4.0).reshape(2, 2)}, tmp_path / "x.bin")
        content = (tmp_path / "x.bin").read_bytes()
        strides = content.index(b"K\x02K\x01\x86")
        (tmp_path / "x.bin").write_bytes(content[: strides + 1] + b"\x01" + content[strides + 2 :])
        refusal(tmp_path / "x.bin", "x/data.pkl has changed")

    @pytest.mark.parametrize("content", [b"x", b"PK", b"PK\3\4", b"\x80\x02}.", b"\x1f\x8b" * 40])
    def test_no_archives(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.bin").write_bytes(content)
        refusal(tmp_path / "x.bin")

    def test_a_zip_file_of_something_else(self, tmp_path: Path) -> None:
        path = write_archive(tmp_path / "x.bin", b"", {}, entries={})
        content = path.read_bytes().replace(b"archive/data.pkl", b"archive/data.txt")
        path.write_bytes(content)
        refusal(path, "has no archive/data.pkl")

    def test_a_description_that_is_too_large(self, tmp_path: Path) -> None:
        path = write_archive(tmp_path / "x.bin", b"\x80\x02" + b"N" * 8_000_000, STORAGES)
        refusal(path, "8000002 bytes in archive/data.pkl, at most 8000000")
