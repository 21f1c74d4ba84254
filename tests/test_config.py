"""Configuration: what is accepted, and what every mistake is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from unclip.config import from_dict, load_config, to_dict
from unclip.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    width: int
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    lr: float
    steps: int = 10
    betas: tuple[float, float] = (0.9, 0.999)
    decay: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"train.steps is {self.steps}, expected 1 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    name: str
    shuffle: bool = True
    clip: float | None = None
    channels: tuple[int, ...] = ()
    layers: tuple[Layer, ...] = ()
    train: Train


GOOD = """
name: pocket
channels: [8, 16]
layers: [{width: 4}, {width: 8, scale: 2}]
train: {lr: 1e-4, betas: [0.9, 0.96], decay: cosine}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def error(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(Run, write(tmp_path, text), overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_yaml_becomes_nested_dataclasses(tmp_path: Path) -> None:
    run = load_config(Run, write(tmp_path, GOOD))
    assert run == Run(
        name="pocket",
        channels=(8, 16),
        layers=(Layer(width=4), Layer(width=8, scale=2.0)),
        train=Train(lr=1e-4, betas=(0.9, 0.96), decay="cosine"),
    )
    assert isinstance(run.layers[1].scale, float)


def test_overrides_are_checked_like_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    run = load_config(Run, path, ["train.lr=1e-3", "clip=0.5", "channels=[1,2,3]", "name=new"])
    assert (run.train.lr, run.clip, run.channels, run.name) == (1e-3, 0.5, (1, 2, 3), "new")
    assert load_config(Run, path, ["clip=null"]).clip is None
    message = error(tmp_path, GOOD, "train.learning=1")
    assert "--set train.learning=1" in message
    assert "unknown key train.learning; did you mean train.lr?" in message


def test_plain_data_comes_back(tmp_path: Path) -> None:
    run = load_config(Run, write(tmp_path, GOOD))
    data = to_dict(run)
    assert data["channels"] == [8, 16]
    assert data["layers"][0] == {"width": 4, "scale": 1.0}
    assert from_dict(Run, data, "memory") == run


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("nme", "name"),
        ("train.lrr", "train.lr"),
        ("lr", "train.lr"),
        ("train.channels", "channels"),
        ("train.beta", "train.betas"),
        ("trian.steps", "train"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one(
    tmp_path: Path, wrong: str, nearest: str
) -> None:
    message = error(tmp_path, GOOD, f"{wrong}=1")
    assert str(tmp_path / "run.yaml") in message
    assert f"did you mean {nearest}" in message


def test_unknown_keys_inside_lists_are_found(tmp_path: Path) -> None:
    message = error(tmp_path, GOOD.replace("{width: 4}", "{width: 4, scal: 1}"))
    assert "unknown key layers[0].scal; did you mean layers.scale?" in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.lr=fast", "train.lr is 'fast', expected a finite number"),
        ("train.lr=.nan", "expected a finite number"),
        ("train.lr=inf", "expected a finite number"),
        ("train.lr=true", "expected a finite number"),
        ("train.steps=1.5", "train.steps is 1.5, expected a whole number"),
        ("train.steps=true", "expected a whole number"),
        ("train.steps=0", "train.steps is 0, expected 1 or more"),
        ("train.decay=linear", "expected one of constant, cosine"),
        ("train.betas=[0.9]", "expected a list of 2"),
        ("channels=8", "expected a list"),
        ("channels=[8,x]", "channels[1] is 'x', expected a whole number"),
        ("shuffle=1", "expected true or false"),
        ("name=3", "name is 3, expected text"),
        ("train=3", "train is 3, expected keys and values"),
        ("train.lr.x=3", "lr is a value"),
        ("train.lr", "not KEY=VALUE"),
        ("train.lr=[", "not YAML"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in error(tmp_path, GOOD, override)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x", "train is missing"),
        ("name: x\ntrain: {}", "train.lr is missing"),
        ("[1, 2]", "holds list, expected keys and values"),
        ("", "holds NoneType"),
        ("a: [", "is not YAML"),
        ("name: a\nname: b\ntrain: {lr: 1}", "the key name stands twice"),
        ("name: !!python/object/apply:os.system [id]\ntrain: {lr: 1}", "is not YAML"),
        ("name: x\ntrain:", "train is None, expected keys and values"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in error(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        load_config(Run, tmp_path / "none.yaml")
