"""Pickles of tensors and plain containers, followed without building anything that they name.

A pickle is a program for a small stack machine. Python's own machine imports whatever the program
names, and calls it. The one here has values of Python's plain types alone, imports nothing and
calls nothing: a name stays a name, and what would be an object is a record of what it would be made
of. Work and memory are bounded by the length of the program.
"""

import dataclasses
import pickletools
from collections.abc import Callable
from typing import IO, Any

from gcnet_jax.interop.torch_files.errors import DamagedFileError, RefusedFileError

# One million instructions take a few seconds and at most some hundred megabytes. A network with the
# state of its optimizer takes some hundred thousand.
_MOST_STEPS = 1_000_000
_LONGEST_KEY = 1000
_LONGEST_NAME = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Global:
    """A function or a class that a pickle names, as `module.name`."""

    name: str


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Recorded:
    """Stands in for an object that is not built.

    Attributes:
        name: of what would have been called.
        args: what it would have been called with.
        state: what the object would have been given then.
    """

    name: str
    args: tuple[Any, ...]
    state: Any = None


Build = Callable[[str, tuple[Any, ...]], Any]
"""From the name of a function and its arguments to what stands for its result."""


def read_pickle(
    file: IO[bytes],
    *,
    is_known: Callable[[str], bool],
    build: Build,
    storage: Callable[[Any], Any],
) -> Any:
    """Follows the pickle at a file's position, to its end.

    Args:
        file: whose `read` and `readline` never give more than there is.
        is_known: whether a name may stand in the file at all.
        build: what stands for a call. Nothing is called but this.
        storage: what stands for a persistent id.

    Returns:
        Numbers, strings, bytes, lists (also in place of sets), tuples and dicts (also in place of
        ordered ones), `Global`s, and what `build` and `storage` have returned.

    Raises:
        DamagedFileError: it is no whole pickle, or of instructions that PyTorch does not write.
        RefusedFileError: it names something that is not known, or is too long.
        OSError: the file cannot be read.
    """
    machine = _Machine(is_known, build, storage)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
        return machine.stack[-1]
    except (DamagedFileError, RefusedFileError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever the bytes happen to mean
        raise DamagedFileError("its pickle breaks off or is none") from error


class _Machine:
    """The stack, the marks and the memo, and what each instruction does to them."""

    def __init__(self, is_known: Callable[[str], bool], build: Build, storage: Callable):
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._is_known = is_known
        self._build = build
        self._storage = storage
        self._steps = 0

    def step(self, opcode: str, argument: Any) -> None:
        """Executes one instruction."""
        self._spend(1)
        if opcode in _PUSH_ARGUMENT:
            self.stack.append(argument)
        elif opcode in _PUSH_CONSTANT:
            self.stack.append(_PUSH_CONSTANT[opcode]())
        elif opcode in _REMEMBER:
            place = len(self._memo) if argument is None else argument
            self._memo[place] = self.stack[-1]
        elif opcode in _RECALL:
            self.stack.append(self._memo[argument])
        elif opcode in _STEPS:
            _STEPS[opcode](self)
        elif opcode in _BYTE_STRINGS:
            self.stack.append(_decoded(argument))
        elif opcode == "GLOBAL":
            self._name(*argument.split(" ", 1))
        elif opcode not in _NOTHING:
            raise DamagedFileError(f"its pickle has the instruction {opcode}")

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise RefusedFileError(f"its pickle has more than {_MOST_STEPS} instructions")

    def mark(self) -> None:
        self._marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        place = self._marks.pop()
        values = self.stack[place:]
        del self.stack[place:]
        return values

    def duplicate(self) -> None:
        self.stack.append(self.stack[-1])

    def tuple_since_mark(self) -> None:
        self.stack.append(tuple(self.since_mark()))

    def list_since_mark(self) -> None:
        self.stack.append(self.since_mark())

    def dict_since_mark(self) -> None:
        values = self.since_mark()
        self.stack.append({})
        self._set_items(values)

    def tuple_of(self, length: int) -> None:
        values = tuple(self.stack[-length:])
        if len(values) != length:
            raise DamagedFileError("its pickle takes values that are not there")
        self.stack[-length:] = [values]

    def append(self) -> None:
        self._extend([self.stack.pop()])

    def append_since_mark(self) -> None:
        self._extend(self.since_mark())

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)
        elif not isinstance(self.stack[-1], Recorded):  # a list of a class of its own
            raise DamagedFileError("its pickle appends to what is no list")

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def set_items_since_mark(self) -> None:
        self._set_items(self.since_mark())

    def _set_items(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            pairs = zip(values[::2], values[1::2], strict=True)
            self.stack[-1].update((_key(key), value) for key, value in pairs)
        elif not isinstance(self.stack[-1], Recorded):  # a dict of a class of its own
            raise DamagedFileError("its pickle sets items of what is no dict")

    def name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        if len(module) + len(name) > _LONGEST_NAME:
            raise DamagedFileError("its pickle names something of no such length")
        full = f"{module}.{name}"
        if not self._is_known(full):
            raise RefusedFileError(f"loading it would call {full}")
        self.stack.append(Global(full))

    def call(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise DamagedFileError("its pickle calls what is no function")
        if function.name != "collections.OrderedDict":
            self.stack.append(self._build(function.name, args))
            return
        pairs = args[0] if args else []  # a list of pairs is how Python 2 wrote it
        self._spend(len(pairs))
        self.stack.append({_key(key): value for key, value in pairs})

    def call_with_keywords(self) -> None:
        self.stack.pop()
        self.call()

    def give_state(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Recorded):
            self.stack[-1].state = state
        # Of an ordered dict it is attributes, such as the versions of modules: none of it is read.

    def persistent(self) -> None:
        self.stack.append(self._storage(self.stack.pop()))


class _UnusualKey:
    """Stands in for a key of which comparing could take for ever, such as tuples in tuples."""

    def __str__(self) -> str:
        return "(no name)"


def _key(key: Any) -> Any:
    if isinstance(key, str | bytes):
        plain = len(key) <= _LONGEST_KEY
    elif isinstance(key, int):
        plain = key.bit_length() < 64
    else:
        plain = key is None or isinstance(key, float)
    return key if plain else _UnusualKey()


def _decoded(text: str) -> str:
    """A string of Python 2, of which pickletools has taken each byte for a character."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return text


_PUSH_ARGUMENT = frozenset(
    [
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "UNICODE",
        "BININT",
        "BININT1",
        "BININT2",
        "INT",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
    ]
)
_PUSH_CONSTANT: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}
_REMEMBER = frozenset(["PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"])
_RECALL = frozenset(["GET", "BINGET", "LONG_BINGET"])
_BYTE_STRINGS = frozenset(["STRING", "BINSTRING", "SHORT_BINSTRING"])
_NOTHING = frozenset(["PROTO", "FRAME", "STOP"])
_STEPS: dict[str, Callable[[_Machine], object]] = {
    "MARK": _Machine.mark,
    "POP": lambda machine: machine.stack.pop(),
    "POP_MARK": lambda machine: machine.since_mark(),
    "DUP": _Machine.duplicate,
    "TUPLE": _Machine.tuple_since_mark,
    "TUPLE1": lambda machine: machine.tuple_of(1),
    "TUPLE2": lambda machine: machine.tuple_of(2),
    "TUPLE3": lambda machine: machine.tuple_of(3),
    "LIST": _Machine.list_since_mark,
    "DICT": _Machine.dict_since_mark,
    "FROZENSET": _Machine.list_since_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.append_since_mark,
    "ADDITEMS": _Machine.append_since_mark,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items_since_mark,
    "STACK_GLOBAL": _Machine.name,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "BUILD": _Machine.give_state,
    "BINPERSID": _Machine.persistent,
}
