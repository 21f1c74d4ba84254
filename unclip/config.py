"""YAML files and `--set` overrides into frozen dataclasses, and nothing else.

An unknown key is an error that names the file, the key and the nearest valid one. There are no class
names in files, no merging of defaults, no environment variables.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from unclip.errors import ConfigError

T = TypeVar("T")


def load_config(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Reads a YAML file into a dataclass; `overrides` are like `train.lr=1e-4`.

    Raises:
        ConfigError: no such file, not YAML, an unknown or missing key, a value of the wrong type.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, expected keys and values")
    for override in overrides:
        _apply(data, override)
    return from_dict(cls, data, str(path))


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
        data[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML") from error


def from_dict(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Builds a (nested) dataclass from plain data; `where` names the source in errors."""
    return _build(cls, data, where, "")


def to_dict(obj: Any) -> Any:
    """Turns a dataclass into plain data for YAML or JSON: tuples become lists."""
    if dataclasses.is_dataclass(obj):
        return {f.name: to_dict(getattr(obj, f.name)) for f in dataclasses.fields(obj)}
    if isinstance(obj, (tuple, list)):
        return [to_dict(item) for item in obj]
    return obj


def _build(cls: Any, data: Any, where: str, prefix: str) -> Any:
    if not isinstance(data, Mapping):
        got = type(data).__name__
        raise ConfigError(f"{where}: {prefix.rstrip('.')} is {got}, expected keys and values")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {prefix}{key}{_nearest(str(key), fields, prefix)}")
    hints = get_type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], where, prefix + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: {prefix}{name} is missing")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _nearest(key: str, fields: Mapping[str, Any], prefix: str) -> str:
    close = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    """Checks a value against a type and converts what YAML cannot say (tuples, 1e-4)."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, where, key)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where, key + ".")
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _wrong(where, key, value, "a list")
        args = get_args(hint)
        if args[-1] is Ellipsis:
            args = (args[0],) * len(value)
        if len(args) != len(value):
            raise _wrong(where, key, value, f"a list of {len(args)}")
        return tuple(
            _convert(arg, item, where, f"{key}[{i}]")
            for i, (arg, item) in enumerate(zip(args, value, strict=True))
        )
    if origin is Literal:
        if value in get_args(hint):
            return value
        raise _wrong(where, key, value, "one of " + ", ".join(map(str, get_args(hint))))
    return _convert_scalar(hint, value, where, key)


def _convert_union(hint: Any, value: Any, where: str, key: str) -> Any:
    options = [arg for arg in get_args(hint) if arg is not type(None)]
    if value is None and len(options) < len(get_args(hint)):
        return None
    return _convert(options[0], value, where, key)


def _convert_scalar(hint: type, value: Any, where: str, key: str) -> Any:
    if hint is float and not isinstance(value, bool):
        # YAML reads 1e-4 (no dot) as text.
        try:
            return float(value)
        except (TypeError, ValueError):
            raise _wrong(where, key, value, "a number") from None
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _wrong(where, key, value, {int: "a whole number", bool: "true or false"}.get(hint, "text"))


def _wrong(where: str, key: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(f"{where}: {key} is {value!r}, expected {expected}")
