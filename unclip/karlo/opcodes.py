"""The language of pickles, as far as files of tensors speak it, on a small stack machine.

torch.save and torch.jit.save describe their tensors in pickle protocol 2. An ordinary unpickler
imports and calls whatever a pickle names. This one knows 32 operations; it imports nothing and
calls only functions of ours, which the caller gives by name. The operations are those that Python's
`pickletools` documents; extensions, persistent names in text and all that makes objects of classes
(INST, OBJ, NEWOBJ_EX, STACK_GLOBAL ...) are none of them.
"""

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from unclip.errors import CheckpointError, shown

MAX_OPCODES = 250_000
"""A tensor takes about 40 operations, and Karlo's largest file has fewer than 900 of them."""
MAX_OPEN_MARKS = 100
MAX_NAME_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Callee:
    """What a pickle may call: a function of ours, which gets whatever arguments stand there and
    raises CheckpointError or ValueError where they are not what it takes."""

    name: str
    num_arguments: int
    call: Callable[..., object]


@dataclass(frozen=True, slots=True)
class Constant:
    """A global that a pickle may name but not call, such as the type of a storage."""

    name: str


@dataclass(slots=True)
class Attributes:
    """An object of a class that is not looked up: its attributes by name."""

    values: dict[object, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """A class whose objects become `Attributes`, such as a TorchScript module's."""

    name: str


Global = Callee | Constant | ObjectClass


def interpret(
    pickle: bytes,
    find: Callable[[str, str], Global | None],
    load: Callable[[object], object],
    where: str,
) -> object:
    """Runs a pickle and returns what it describes.

    Args:
        find: what a module and a name stand for; None refuses them.
        load: what a persistent id stands for.
        where: the file, for messages.

    Raises:
        CheckpointError: an operation, a global or a call is not among those allowed, the pickle is
            damaged, or it exceeds a limit.
    """
    machine = Machine(pickle, find, load, where)
    try:
        return machine.run()
    except CheckpointError:
        raise
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise CheckpointError(
            f"{where} is damaged: its pickle makes no sense at byte {machine.at}"
        ) from error


class Machine:
    """A stack, the marks in it, and a memo of what is used again."""

    def __init__(
        self,
        pickle: bytes,
        find: Callable[[str, str], Global | None],
        load: Callable[[object], object],
        where: str,
    ) -> None:
        self.pickle = pickle
        self.find = find
        self.load = load
        self.where = where
        self.at = 0
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        """Performs the operations up to STOP."""
        if self.pickle[:2] != b"\x80\x02":
            raise CheckpointError(f"{self.where} holds no pickle of protocol 2, torch.save's own")
        self.at = 2
        for _ in range(MAX_OPCODES):
            opcode = self.pickle[self.at]
            self.at += 1
            if opcode == STOP:
                return self._result()
            operation = OPERATIONS.get(opcode)
            if operation is None:
                raise self.refusal(f"the pickle operation {_opcode_name(opcode)}")
            operation(self)
        raise CheckpointError(f"{self.where} takes more than {MAX_OPCODES} pickle operations")

    def _result(self) -> object:
        (result,) = self.stack
        if self.marks or self.at != len(self.pickle):
            raise ValueError("something is left over")
        return result

    def refusal(self, what: str) -> CheckpointError:
        """Says that the file asks for something that it may not have."""
        return CheckpointError(
            f"{self.where} asks for {what}, which no file of tensors needs: it was refused and "
            "nothing of it was run; get the weights as safetensors"
        )

    def take(self, count: int) -> bytes:
        """The next bytes of the pickle."""
        taken = self.pickle[self.at : self.at + count]
        if len(taken) != count:
            raise ValueError("the pickle ends too early")
        self.at += count
        return taken

    def number(self, form: str) -> int:
        """The next whole number, in the form that `struct` calls so."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Text up to the next line break."""
        end = self.pickle.index(b"\n", self.at, self.at + MAX_NAME_BYTES)
        text = self.pickle[self.at : end].decode("utf-8")
        self.at = end + 1
        return text

    def pop_to_mark(self) -> list[object]:
        """All that stands above the last mark, which goes too."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def push(self, value: object) -> None:
        """Puts a value on top."""
        self.stack.append(value)

    def push_mark(self) -> None:
        """Opens a group of values."""
        if len(self.marks) == MAX_OPEN_MARKS:
            raise CheckpointError(f"{self.where} nests more than {MAX_OPEN_MARKS} values")
        self.marks.append(len(self.stack))

    def push_tuple(self, count: int) -> None:
        """Makes the `count` > 0 values on top one tuple."""
        values = tuple(self.stack[-count:])
        if len(values) != count:
            raise IndexError("too few values for a tuple")
        del self.stack[-count:]
        self.push(values)

    def push_float(self) -> None:
        """A float of 64 bits."""
        self.push(struct.unpack(">d", self.take(8))[0])

    def push_text(self) -> None:
        """A string, its length before it."""
        self.push(self.take(self.number("<I")).decode("utf-8"))

    def push_long(self) -> None:
        """A whole number of up to 255 bytes, its length before it."""
        self.push(int.from_bytes(self.take(self.number("<B")), "little", signed=True))

    def push_global(self) -> None:
        """Names something; only what the caller knows may be named."""
        module, name = self.line(), self.line()
        found = self.find(module, name)
        if found is None:
            raise self.refusal(shown(f"{module}.{name}"))
        self.push(found)

    def put(self, index: int) -> None:
        """Keeps the value on top for later use."""
        self.memo[index] = self.stack[-1]

    def extend(self, values: list[object]) -> None:
        """Appends to the list on top."""
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError("only lists are appended to")
        target.extend(values)

    def set_items(self, values: list[object]) -> None:
        """Sets items of the dict on top."""
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise ValueError("only dicts have items, and they come in pairs")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Larger numbers can be made to have one hash, and a dict of those takes for ever.
            if type(key) is not str and (type(key) is not int or not -(2**63) <= key < 2**63):
                raise ValueError("keys are names or numbers of 64 bits")
            target[key] = value

    def reduce(self) -> None:
        """Calls one of the functions of ours that the pickle has named."""
        arguments, callee = self.stack.pop(), self.stack.pop()
        if type(callee) is not Callee or type(arguments) is not tuple:
            raise self.refusal(f"a call of {_kind(callee)}")
        if len(arguments) != callee.num_arguments:
            raise ValueError("another number of arguments")
        self.push(callee.call(*arguments))

    def new_object(self) -> None:
        """Stands for an object of a class."""
        arguments, made = self.stack.pop(), self.stack.pop()
        if type(made) is not ObjectClass or type(arguments) is not tuple or arguments:
            raise self.refusal(f"an object of {_kind(made)}")
        self.push(Attributes())

    def build(self) -> None:
        """Gives an object its attributes."""
        state, target = self.stack.pop(), self.stack[-1]
        if type(state) is not dict:
            raise self.refusal(f"an object to be set up with {_kind(state)}")
        if type(target) is Attributes:
            # Kept as it is: copied for each of many objects, one large dict would take for ever.
            target.values = state
        elif type(target) is not dict:
            # An OrderedDict's own attributes (state_dict has `_metadata`) are not its items.
            raise self.refusal(f"attributes of {_kind(target)}")


def _kind(value: object) -> str:
    """What a value is, in words that do not repeat it."""
    return value.name if isinstance(value, Global) else f"a {type(value).__name__}"


def _opcode_name(opcode: int) -> str:
    names = {known.code: known.name for known in pickletools.opcodes}
    return names.get(chr(opcode), f"{opcode:#04x}")


STOP = ord(".")
OPERATIONS: Mapping[int, Callable[[Machine], None]] = {
    ord(code): operation
    for code, operation in {
        # plain values
        "N": lambda machine: machine.push(None),
        "\x88": lambda machine: machine.push(True),
        "\x89": lambda machine: machine.push(False),
        "K": lambda machine: machine.push(machine.number("<B")),
        "M": lambda machine: machine.push(machine.number("<H")),
        "J": lambda machine: machine.push(machine.number("<i")),
        "G": Machine.push_float,
        "\x8a": Machine.push_long,
        "X": Machine.push_text,
        # containers
        "(": Machine.push_mark,
        ")": lambda machine: machine.push(()),
        "\x85": lambda machine: machine.push_tuple(1),
        "\x86": lambda machine: machine.push_tuple(2),
        "\x87": lambda machine: machine.push_tuple(3),
        "t": lambda machine: machine.push(tuple(machine.pop_to_mark())),
        "]": lambda machine: machine.push([]),
        "a": lambda machine: machine.extend([machine.stack.pop()]),
        "e": lambda machine: machine.extend(machine.pop_to_mark()),
        "}": lambda machine: machine.push({}),
        "s": lambda machine: machine.set_items([machine.stack.pop(), machine.stack.pop()][::-1]),
        "u": lambda machine: machine.set_items(machine.pop_to_mark()),
        # what is used again
        "q": lambda machine: machine.put(machine.number("<B")),
        "r": lambda machine: machine.put(machine.number("<I")),
        "h": lambda machine: machine.push(machine.memo[machine.number("<B")]),
        "j": lambda machine: machine.push(machine.memo[machine.number("<I")]),
        # what a pickle may ask for
        "c": Machine.push_global,
        "R": Machine.reduce,
        "\x81": Machine.new_object,
        "b": Machine.build,
        "Q": lambda machine: machine.push(machine.load(machine.stack.pop())),
    }.items()
}
