"""The machine that runs descriptions of tensors: what it says, what it refuses, where it stops."""

import copyreg
import os
import pickle
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import EXTENSION, PAYLOADS, text

from unclip.errors import CheckpointError
from unclip.karlo import opcodes
from unclip.karlo.opcodes import (
    MAX_OPEN_MARKS,
    OPERATIONS,
    Attributes,
    Callee,
    Constant,
    Global,
    ObjectClass,
    interpret,
)

GLOBALS: dict[str, Global] = {
    "a.pair": Callee("a.pair", 2, lambda left, right: (right, left)),
    "a.Word": Constant("a.Word"),
    "a.Thing": ObjectClass("a.Thing"),
}


def run(content: bytes) -> object:
    return interpret(
        content, lambda module, name: GLOBALS.get(f"{module}.{name}"), lambda key: [key], "x.bin"
    )


def refusal(content: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        run(content)
    message = str(caught.value)
    assert message.startswith("x.bin ")
    assert message.isprintable()
    assert len(message) < 400
    return message


@pytest.fixture
def extension() -> Iterator[None]:
    copyreg.add_extension("os", "mkdir", EXTENSION)
    yield
    copyreg.remove_extension("os", "mkdir", EXTENSION)


class TestPayloads:
    @pytest.mark.usefixtures("extension")
    @pytest.mark.parametrize("way", PAYLOADS)
    def test_what_an_unpickler_runs_is_refused(self, way: str, tmp_path: Path) -> None:
        harmful = PAYLOADS[way](str(tmp_path / "made"))
        refusal(harmful)
        assert not (tmp_path / "made").exists()
        # The payload is a live one: whoever unpickles it is hit.
        pickle.loads(harmful)
        assert (tmp_path / "made").exists()

    @pytest.mark.parametrize(
        ("way", "named"),
        [
            ("REDUCE", "os.mkdir"),
            ("REDUCE of eval", "builtins.eval"),
            ("INST", "operation INST"),
            ("OBJ", "os.mkdir"),
            ("NEWOBJ", "payloads.MadeByNew"),
            ("BUILD", "payloads.MadeByState"),
            ("STACK_GLOBAL in protocol 2", "operation STACK_GLOBAL"),
            ("EXT1", "operation EXT1"),
            ("EXT2", "operation EXT2"),
            ("EXT4", "operation EXT4"),
        ],
    )
    def test_it_is_refused_by_name(self, way: str, named: str) -> None:
        assert f"asks for {'the pickle ' * named.startswith('op')}{named}, which" in refusal(
            PAYLOADS[way]("place")
        )

    @pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
    def test_other_protocols(self, protocol: int) -> None:
        assert "protocol 2" in refusal(pickle.dumps({"a": 1}, protocol))

    def test_operations_are_a_closed_list(self) -> None:
        for opcode in range(256):
            if opcode not in OPERATIONS and opcode != ord("."):
                message = refusal(b"\x80\x02N(N" + bytes([opcode]) + b"os\nmkdir\n" * 4 + b".")
                assert "asks for the pickle operation" in message


class TestCalls:
    def test_functions_of_ours_are_called(self) -> None:
        assert run(b"\x80\x02ca\npair\nK\x01K\x02\x86R.") == (2, 1)

    def test_classes_become_their_attributes(self) -> None:
        thing = run(b"\x80\x02ca\nThing\n)\x81}(" + text("w") + b"K\x05ub.")
        assert thing == Attributes({"w": 5})

    def test_persistent_ids_are_looked_up(self) -> None:
        assert run(b"\x80\x02(K\x01N" + b"tQ.") == [(1, None)]

    def test_attributes_of_a_dict_are_not_its_items(self) -> None:
        """A state_dict is an OrderedDict with an attribute `_metadata`."""
        assert run(b"\x80\x02}" + text("w") + b"K\x01s}" + text("_metadata") + b"}sb.") == {"w": 1}

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"ca\nWord\n)R.", "a call of a.Word"),
            (b"ca\nThing\n)R.", "a call of a.Thing"),
            (b"})R.", "a call of a dict"),
            (text("os") + b")R.", "a call of a str"),
            (b"ca\npair\n)\x81.", "an object of a.pair"),
            (b"ca\nThing\nK\x01\x85\x81.", "an object of a.Thing"),
            (b"]\x94}b.", "the pickle operation MEMOIZE"),
            (b"]}b.", "attributes of a list"),
            (b"ca\nThing\n}b.", "attributes of a.Thing"),
            (b"ca\nThing\n)\x81]b.", "an object to be set up with a list"),
            (b"ca\nThing\n)\x81}}\x86b.", "an object to be set up with a tuple"),
            (b"ca\nelse\n.", "a.else"),
            (b"ca\x1b[31m\nb\n.", "'a\\x1b[31m.b'"),
            (b"c" + b"a" * 900 + b"\nb\n.", "a" * 120 + "..."),
        ],
    )
    def test_anything_else_is_refused_by_name(self, content: bytes, what: str) -> None:
        assert f"asks for {what}, which no file of tensors needs" in refusal(b"\x80\x02" + content)


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [
            b".",
            b"NN.",
            b"N(.",
            b"N.N",
            b"N",
            b"\x85.",
            b"N\x86.",
            b"t.",
            b"u.",
            b"e.",
            b"h\x00.",
            b"q\x00.",
            b"R.",
            b"NR.",
            b"b.",
            b"N\x81.",
            b"Q.",
            b"Na.",
            b"}(Nu.",
            b"}NNs.",
            b"}]Ns.",
            b"}))s.",
            b"}\x8a\x09" + bytes(8) + b"\x01Ns.",
            b"}\x88Ns.",
            b"}G" + bytes(8) + b"Ns.",
            b"](NNu.",
            b"}(NNe.",
            b"X\xff\xff\xff\xffabc.",
            b"X\x01\x00\x00\x00\xff.",
            b"\x8a\x08abc",
            b"J\x00",
            b"cabc",
            b"ca\nb",
            b"c\xff\n\xff\n.",
            b"c" + b"a" * 2000 + b"\nb\n.",
            b"ca\npair\n)R.",
            b"ca\npair\n(NNNtR.",
        ],
    )
    def test_what_makes_no_sense(self, content: bytes) -> None:
        assert "is damaged: its pickle makes no sense at byte" in refusal(b"\x80\x02" + content)

    def test_truncation_anywhere(self) -> None:
        whole = pickle.dumps({"a": [1, 2.5, "text", None, (True, 2**40)], "b": {1: -7}}, 2)
        assert run(whole) == pickle.loads(whole)
        for length in range(len(whole)):
            refusal(whole[:length])


class TestLimits:
    """The number of operations is tested at its full size in test_hostile.py."""

    def test_operations(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opcodes, "MAX_OPCODES", 100)
        assert run(b"\x80\x02](" + b"N" * 96 + b"e.") == [None] * 96
        assert "more than 100 pickle operations" in refusal(b"\x80\x02](" + b"N" * 97 + b"e.")

    def test_open_marks(self) -> None:
        assert f"nests more than {MAX_OPEN_MARKS} values" in refusal(
            b"\x80\x02" + b"(" * (MAX_OPEN_MARKS + 1) + b"t" * (MAX_OPEN_MARKS + 1) + b"."
        )
        run(b"\x80\x02" + b"(" * MAX_OPEN_MARKS + b"t" * MAX_OPEN_MARKS + b".")

    def test_deep_values_without_marks(self) -> None:
        """Python itself is asked to take them apart again, without recursion."""
        run(b"\x80\x02)" + b"\x85" * 20_000 + b".")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(st.text() | st.integers(-(2**63), 2**63 - 1), inner)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_plain_values_are_read_as_python_reads_them(value: object) -> None:
    assert run(pickle.dumps(value, 2)) == value


@given(st.binary(max_size=60))
def test_noise_is_refused(noise: bytes) -> None:
    """Or understood, where it happens to say something plain; never another exception."""
    before = os.listdir()
    with suppress(CheckpointError):
        run(b"\x80\x02" + noise)
    assert os.listdir() == before


@given(st.lists(st.sampled_from([bytes([code]) for code in OPERATIONS]), max_size=40))
def test_operations_in_any_order(operations: list[bytes]) -> None:
    arguments = {b"c": b"a\npair\n", b"X": b"\x01\0\0\0a", b"J": b"\1\0\0\0", b"G": bytes(8)}
    arguments |= {b"r": b"\0\0\0\0", b"j": b"\0\0\0\0", b"M": b"\0\0", b"\x8a": b"\1\1"}
    arguments |= {b"q": b"\0", b"h": b"\0", b"K": b"\1"}
    content = b"\x80\x02NN((" + b"".join(code + arguments.get(code, b"") for code in operations)
    with suppress(CheckpointError):
        run(content + b".")
