"""YAML files and `--set` overrides into frozen dataclasses, and nothing else.

An unknown key is an error that names the file, the key and the nearest valid one. There are no
class names in files, no merging of defaults, no environment variables.
"""

import dataclasses
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from unclip.errors import ConfigError

T = TypeVar("T")

INF = math.inf
ABOVE_ZERO = math.nextafter(0.0, 1.0)
BELOW_ONE = math.nextafter(1.0, 0.0)


class _StrictLoader(yaml.SafeLoader):
    """YAML without doubled keys, of which PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [getattr(key, "value", None) for key, _ in node.value]
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and names.count(key.value) > 1:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key.value} stands twice, again in line {line}")
        return super().construct_mapping(node, deep)


def load_config(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Reads a YAML file into a dataclass; `overrides` are like `train.lr=1e-4`.

    Raises:
        ConfigError: no such file, not YAML, an unknown or missing key, a value of the wrong type.
    """
    path = Path(path)
    try:
        data = _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, expected keys and values")
    for override in overrides:
        _apply(data, override)
    where = " ".join([str(path), *(f"--set {override}" for override in overrides)])
    return from_dict(cls, data, where)


def _parse(text: str) -> Any:
    # As safe as safe_load: the loader is a SafeLoader.
    return yaml.load(text, _StrictLoader)


def _apply(data: dict[str, Any], override: str) -> None:
    """Sets one dotted key; whether it exists is checked with the rest."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r} is not KEY=VALUE, for example train.lr=1e-4")
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"--set {override!r}: {parent} is a value, it has no keys below it")
    try:
        data[last] = _parse(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML") from error


def from_dict(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Builds a (nested) dataclass from plain data; `where` names the source in errors.

    Raises:
        ConfigError: an unknown or missing key, a value of the wrong type or out of range.
    """
    return _Builder(cls, where).build(cls, data, "")


def to_dict(obj: Any) -> Any:
    """Turns a dataclass into plain data for YAML or JSON: tuples become lists."""
    if dataclasses.is_dataclass(obj):
        return {f.name: to_dict(getattr(obj, f.name)) for f in dataclasses.fields(obj)}
    if isinstance(obj, (tuple, list)):
        return [to_dict(item) for item in obj]
    return obj


class _Builder:
    """Walks data and types side by side; keeps what the error messages need."""

    def __init__(self, root: Any, where: str) -> None:
        self.root, self.where = root, where

    def build(self, cls: Any, data: Any, prefix: str) -> Any:
        if not isinstance(data, Mapping):
            raise self._wrong(prefix.rstrip(".") or "the whole", data, "keys and values")
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in data:
            if key not in fields:
                nearest = _nearest(f"{prefix}{key}", _keys(self.root))
                raise ConfigError(
                    f"{self.where}: unknown key {prefix}{key}; did you mean {nearest}?"
                )
        hints = get_type_hints(cls)
        values = {}
        for name, field in fields.items():
            if name in data:
                values[name] = self._convert(hints[name], data[name], prefix + name)
            elif _required(field):
                raise ConfigError(f"{self.where}: {prefix}{name} is missing")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{self.where}: {error}") from error

    def _convert(self, hint: Any, value: Any, key: str) -> Any:
        """Checks a value against a type and converts what YAML cannot say (tuples, 1e-4)."""
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            options = [arg for arg in get_args(hint) if arg is not type(None)]
            if value is None and len(options) < len(get_args(hint)):
                return None
            # Of a value and a table of settings, the one that is written there.
            tables = [arg for arg in options if dataclasses.is_dataclass(arg)]
            values = [arg for arg in options if arg not in tables]
            chosen = tables if tables and (isinstance(value, Mapping) or not values) else values
            return self._convert(chosen[0], value, key)
        if dataclasses.is_dataclass(hint):
            return self.build(hint, value, key + ".")
        if origin is tuple:
            return self._convert_tuple(get_args(hint), value, key)
        if origin is Literal:
            if any(value == option and type(value) is type(option) for option in get_args(hint)):
                return value
            raise self._wrong(key, value, "one of " + ", ".join(map(str, get_args(hint))))
        return self._convert_scalar(hint, value, key)

    def _convert_tuple(self, args: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise self._wrong(key, value, "a list")
        if args[-1] is Ellipsis:
            args = (args[0],) * len(value)
        if len(args) != len(value):
            raise self._wrong(key, value, f"a list of {len(args)}")
        items = enumerate(zip(args, value, strict=True))
        return tuple(self._convert(arg, item, f"{key}[{i}]") for i, (arg, item) in items)

    def _convert_scalar(self, hint: type, value: Any, key: str) -> Any:
        if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
            # YAML reads 1e-4 (no dot) as text.
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
            if math.isfinite(number):
                return number
        elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
            return value
        expected = {float: "a finite number", int: "a whole number", bool: "true or false"}
        raise self._wrong(key, value, expected.get(hint, "text"))

    def _wrong(self, key: str, value: Any, expected: str) -> ConfigError:
        return ConfigError(f"{self.where}: {key} is {value!r}, expected {expected}")


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _keys(hint: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys below a type."""
    if not dataclasses.is_dataclass(hint):
        for arg in get_args(hint):
            if dataclasses.is_dataclass(arg):
                yield from _keys(arg, prefix)
        return
    for name, child in get_type_hints(hint).items():
        yield prefix + name
        yield from _keys(child, f"{prefix}{name}.")


def _nearest(key: str, valid: Iterator[str]) -> str:
    """The most similar key: as a whole, and in its last part (so that `lr` finds `train.lr`)."""

    def similarity(other: str) -> float:
        last = SequenceMatcher(None, key.rpartition(".")[2], other.rpartition(".")[2]).ratio()
        return SequenceMatcher(None, key, other).ratio() + last

    return max(valid, key=similarity)


def check_ranges(values: object, where: str, **ranges: tuple[float | int, float | int]) -> None:
    """Compares fields with their lowest and highest value; None is passed over.

    Args:
        where: what stands before a field's name in a message.

    Raises:
        ConfigError: a value is out of range, or not a number.
    """
    for name, (low, high) in ranges.items():
        value = getattr(values, name)
        if value is None or low <= value <= high:
            continue
        least = "above 0" if low == ABOVE_ZERO else f"{low:g} or more"
        if math.isinf(high):
            expected = least
        elif high == BELOW_ONE:
            expected = f"{least} and below 1"
        else:
            expected = f"{low:g} to {high:g}"
        raise ConfigError(f"{where}{name} is {value}, expected {expected}")
