"""Fixtures that several packages' tests share."""

import json
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# Processes side by side (`pytest -n`) share the cores, and so do the commands that they start.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would every process
# that they start; the tests of interrupted commands need the ordinary behaviour.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DEBIAN_PACKAGES = {"exiftool": "libimage-exiftool-perl", "npm": "npm", "strace": "strace"}
"""What tests marked `requires_COMMAND` need beyond Python."""
ROOT = Path(__file__).resolve().parents[1]
STAGES = ("clip", "prior", "decoder", "upsampler_256", "upsampler_1024")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose command is not installed; `.ci/run` installs them."""
    for command, package in DEBIAN_PACKAGES.items():
        if item.get_closest_marker(f"requires_{command}") and shutil.which(command) is None:
            pytest.skip(f"{command} is not installed: apt-get install {package}")


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered for a user (licences that were told) is none of this home's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


class TinyChain(NamedTuple):
    """The five stages of configs/tiny, trained for a few steps on a few scenes."""

    folder: Path
    losses: dict[str, list[float]]
    """Of every step, by stage."""

    def final(self, stage: str) -> Path:
        """The exported stage folder."""
        return self.folder / stage / "final"


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built set of the repository's own illustrations."""
    from tiny_set import make_tiny_set

    return make_tiny_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few scenes of the pocket world: `64/`, `256/` and tiles of 1024 px in `1024/`."""
    from unclip.data.scenes import captions, describe, paint

    folder = tmp_path_factory.mktemp("world")
    for name, count in (("64", 12), ("256", 4), ("1024", 4)):
        place = folder / name
        place.mkdir()
        lines = []
        for index in range(count):
            scene = describe(index)
            image = paint(scene, 256 if name == "1024" else int(name))
            image.save(place / f"{index}.png")
            lines.append(json.dumps({"file_name": f"{index}.png", "captions": captions(scene)}))
        (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_chain(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyChain:
    """Trains the whole chain once a session, in this process."""
    from decoder.train import main as train_decoder
    from prior.train import main as train_prior
    from unclip.training.clip import main as train_clip
    from upsamplers.train import main as train_upsampler

    out = tmp_path_factory.mktemp("runs")
    clip = f"clip={out / 'clip' / 'final'}"
    jobs: list[tuple[str, Callable[[Sequence[str]], int], list[str]]] = [
        ("clip", train_clip, [f"images={tiny_world / '64'}"]),
        ("prior", train_prior, [f"images={tiny_world / '64'}", clip]),
        ("decoder", train_decoder, [f"images={tiny_world / '64'}", clip]),
        ("upsampler_256", train_upsampler, [f"images={tiny_world / '256'}"]),
        ("upsampler_1024", train_upsampler, [f"images={tiny_world / '1024'}"]),
    ]
    losses = {}
    for name, train, settings in jobs:
        arguments = ["--config", str(ROOT / "configs" / "tiny" / f"{name}.yaml")]
        arguments += ["--out", str(out / name), "--set", "train.log_every=1"]
        for setting in settings:
            arguments += ["--set", setting]
        assert train(arguments) == 0, name
        log = (out / name / "log.jsonl").read_text().splitlines()
        losses[name] = [json.loads(line)["loss"] for line in log]
    return TinyChain(out, losses)


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of five stages, and `model`, assembled from them. Not to be changed."""
    from tiny_model import make_model

    root = tmp_path_factory.mktemp("tiny")
    make_model(root)
    return root


@pytest.fixture(scope="session")
def kakao_state() -> dict[str, dict[str, Any]]:
    """Tensors of a small Karlo, by diffusers' components and names."""
    # Imported here: it imports diffusers and transformers, which few tests need.
    import kakao_files

    return kakao_files.states()


@pytest.fixture(scope="session")
def kakao_folder(
    tmp_path_factory: pytest.TempPathFactory, kakao_state: dict[str, dict[str, Any]]
) -> Path:
    """The same in Kakao's own files."""
    import kakao_files

    with warnings.catch_warnings():
        # OpenAI's CLIPs are in TorchScript, which PyTorch deprecates.
        warnings.simplefilter("ignore", FutureWarning)
        return kakao_files.write_kakao(tmp_path_factory.mktemp("kakao"), kakao_state)


@pytest.fixture(scope="session")
def karlo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Karlo in diffusers' layout, tiny and random, of 8 and 32 px. Not to be changed."""
    from karlo_folders import KARLO, randomise, text_to_image, write_tokenizer

    root = tmp_path_factory.mktemp("karlo_folder")
    pipe = text_to_image(KARLO, write_tokenizer(root / "tokenizer"))
    randomise(pipe.components)
    pipe.save_pretrained(root / "karlo")
    return root / "karlo"
