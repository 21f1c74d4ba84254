"""Files made to do harm: nothing runs, nothing is allocated, and there is one kind of error."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from archives import STORAGES, view, write_archive
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payloads import PAYLOADS
from safetensors.torch import save_file
from torch import Tensor

from unclip.errors import CheckpointError
from unclip.karlo.opcodes import MAX_OPCODES
from unclip.karlo.weights import ARCHIVES, check_refs, open_tensors
from unclip.mapped import TensorRef

SUPPORT = Path(__file__).resolve().parents[1] / "support"
EXTENSIONS = (*ARCHIVES, ".safetensors")


def archived(path: Path, payload: bytes) -> None:
    write_archive(path, payload)


def bare(path: Path, payload: bytes) -> None:
    path.write_bytes(payload + bytes(64))


def beside_tensors(path: Path, payload: bytes) -> None:
    """The payload follows a description of tensors, as torch.save's old format has it."""
    torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes() + payload)


def in_a_module(path: Path, payload: bytes) -> None:
    """An attribute of a TorchScript module."""
    module = b"\x80\x02c__torch__\nTower\n)\x81}(X\x01\0\0\0w" + payload[2:-1] + b"ub."
    entries = {"code/__torch__.py": b"import os", "constants.pkl": payload, "version": b"3\n"}
    write_archive(path, module, entries=entries)


class TestPayloads:
    @pytest.mark.parametrize("extension", EXTENSIONS)
    @pytest.mark.parametrize("form", [archived, bare, beside_tensors, in_a_module])
    def test_in_every_file_and_form(
        self, tmp_path: Path, extension: str, form: Callable[[Path, bytes], None]
    ) -> None:
        path = tmp_path / f"weights{extension}"
        for payload in PAYLOADS.values():
            form(path, payload(str(tmp_path / "made")))
            with pytest.raises(CheckpointError, match=r"weights\."):
                open_tensors(path)
            assert [place.name for place in tmp_path.iterdir()] == [path.name]

    @pytest.mark.parametrize("extension", ARCHIVES)
    def test_the_caller_is_told_what_it_wanted(self, tmp_path: Path, extension: str) -> None:
        path = tmp_path / f"weights{extension}"
        archived(path, PAYLOADS["REDUCE inside a state_dict"](str(tmp_path / "made")))
        with pytest.raises(CheckpointError, match=r"asks for os\.mkdir, which no file of tensors"):
            open_tensors(path)


WATCHED = """
import os, pickle, sys
from pathlib import Path
from payloads import PAYLOADS
from unclip.errors import CheckpointError
from unclip.karlo.weights import open_tensors

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
seen, watching = [], False

def watch(event, arguments):
    reads = event == "mmap.__new__" or (event == "open" and not arguments[2] & WRITES)
    if watching and not reads:
        seen.append(event)

sys.addaudithook(watch)
for path in sorted(Path(sys.argv[1]).iterdir()):
    watching = True
    try:
        outcome = [ref.load().sum() for ref in open_tensors(path).values()]
    except CheckpointError as error:
        outcome = str(error)
    watching = False
    assert isinstance(outcome, str) == path.name.startswith("bad"), (path, outcome)
assert not seen, seen
# The hook sees what it should: an ordinary unpickler is caught at it.
watching = True
pickle.loads(PAYLOADS["REDUCE"](str(Path(sys.argv[1]) / "made")))
watching = False
assert {"pickle.find_class", "os.mkdir"} <= set(seen), seen
"""


def test_reading_is_all_that_is_done(tmp_path: Path) -> None:
    """No import, no code, no process, no socket, no file opened for writing."""
    for number, payload in enumerate(PAYLOADS.values()):
        for extension in EXTENSIONS:
            path = tmp_path / f"bad{number}{extension}"
            (bare if extension == ".safetensors" else archived)(path, payload("made"))
    torch.save({"w": torch.ones(2), "s": [1.5, "x"]}, tmp_path / "good.ckpt")
    save_file({"w": torch.ones(2)}, tmp_path / "good.safetensors")
    run(WATCHED, tmp_path)


LIMITED = """
import json, resource, sys
from pathlib import Path
from unclip.errors import CheckpointError
from unclip.karlo.weights import open_tensors

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        open_tensors(path)
    except CheckpointError as error:
        assert "allocate" not in str(error), error
    else:
        raise AssertionError(f"{path} was opened")
# The limit is felt: what the largest of the headers would need is not there.
try:
    json.loads((Path(sys.argv[1]) / "tensors.safetensors").read_bytes()[8:])
except MemoryError:
    pass
else:
    raise AssertionError("no limit")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc are Linux's")
def test_bombs_are_refused_within_little_memory(tmp_path: Path) -> None:
    def header(name: str, content: bytes) -> None:
        length = len(content).to_bytes(8, "little")
        (tmp_path / f"{name}.safetensors").write_bytes(length + content)

    def archive(name: str, content: bytes) -> None:
        write_archive(tmp_path / f"{name}.ckpt", b"\x80\x02" + content)

    empty = json.dumps({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}).encode()
    entries = b",".join(b'"%d":%b' % (number, empty) for number in range(700_000))
    header("tensors", b"{" + entries + b"}")
    header("fewer_tensors", b"{" + entries[:20_000_000] + b"}")
    header("names", b"{" + b",".join(map(b'"%x":1'.__mod__, range(2_000_000))) + b"}")
    header("lists", b'{"a":' + b"[" * 5_000_000)
    header("numbers", b'{"a":[' + b"7," * 5_000_000 + b"7]}")
    archive("operations", b"N" * (MAX_OPCODES + 1) + b".")
    archive("nesting", b")" + b"\x85" * (MAX_OPCODES - 3) + b".")
    archive("knot", b"]q\x00(" + b"h\x00" * (MAX_OPCODES - 10) + b"e.")
    archive("ladder", b"()" + b"".join(b"q%ch%ch%c\x86" % (i, i, i) for i in range(40)) + b"t.")
    long = b"X" + (7_000_000).to_bytes(4, "little") + b"n" * 7_000_000
    archive("long names", b"(" + long + b"q\x00" + b"}h\x00Ns" * 50_000 + b"t.")
    archive("long number", b"\x8b" + (7_000_000).to_bytes(4, "little") + b"\x7f" * 7_000_000)
    archive("marks", b"(" * MAX_OPCODES)
    module = b"(c__torch__\nM\nq\0N"
    archive("chain", module + b"q\1" + b"h\0)\x81}K\1h\1sbq\1" * 20_000 + b"t.")
    # What is done for each of many objects, or for each key of one hash, must not grow with both.
    state = b"}q\1(" + b"".join(b"J%bN" % number.to_bytes(4, "little") for number in range(40_000))
    archive("states", module + state + b"u" + b"h\0)\x81h\1b" * 30_000 + b"t.")
    keys = ((2**61 - 1) * number for number in range(100_000))
    items = b"".join(b"\x8a\x0a" + key.to_bytes(10, "little") + b"N" for key in keys)
    archive("hashes", b"}(" + items + b"u.")
    run(LIMITED, tmp_path)


def run(code: str, folder: Path) -> None:
    """Runs code in a process of its own; what it asserts must hold there."""
    path = [str(SUPPORT), *sys.path]
    code = f"import sys\nsys.path[:] = {path!r}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


WANTED = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3).bfloat16()}


@pytest.fixture(params=["x.ckpt", "x.pt", "x.safetensors"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small file of each kind."""
    path = tmp_path / request.param
    if path.suffix == ".safetensors":
        save_file(WANTED, path)
    elif path.suffix == ".ckpt":
        torch.save({"w": WANTED["w"].clone(), "b": WANTED["b"].clone()}, path)
    else:
        write_archive(path, {"w": view(), "b": view((3,), (1,))}, STORAGES)
    return path


def test_truncation_anywhere(whole: Path) -> None:
    content = whole.read_bytes()
    for length in range(0, len(content), 5):
        whole.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=whole.name):
            open_tensors(whole)


def opened(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that passes for what is wanted."""
    refs = open_tensors(path)
    check_refs(refs, WANTED, path)
    return {name: ref.load().clone() for name, ref in refs.items()}


def numbers(refs: dict[str, TensorRef]) -> set[int]:
    """The bytes that are tensors' own: a change of them is a change of a weight."""
    return {byte for ref in refs.values() for byte in range(ref.start, ref.start + ref.nbytes)}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_noticed_or_changes_nothing(whole: Path, data: st.DataObject) -> None:
    content = whole.read_bytes()
    expected, own = open_tensors(whole), numbers(open_tensors(whole))
    before = {name: ref.load().clone() for name, ref in expected.items()}
    at = data.draw(st.integers(0, len(content) - 1).filter(lambda byte: byte not in own))
    value = data.draw(st.integers(0, 255))
    whole.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
    with suppress(CheckpointError):
        found = opened(whole)
        assert found.keys() == before.keys()
        assert all(torch.equal(found[name], before[name]) for name in found)
    whole.write_bytes(content)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=8)), max_size=6))
def test_many_changed_bytes_raise_one_kind_of_error(
    whole: Path, changes: list[tuple[int, bytes]]
) -> None:
    content = bytearray(whole.read_bytes())
    for at, value in changes:
        begin = at % len(content)
        content[begin : begin + len(value)] = value
    other = whole.with_name(f"changed{whole.suffix}")
    other.write_bytes(content)
    with suppress(CheckpointError):
        opened(other)
