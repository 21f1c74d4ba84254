"""The installed console script: start-up, what it imports, signals, several processes."""

import importlib.metadata
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unclip.pipeline.folders import bundled_folder
from unclip.pipeline.index import INDEX
from unclip.provenance.metadata import read_picture_text, read_record

Start = Callable[..., subprocess.Popen[str]]

ALLOWED = {
    *("torch", "safetensors", "numpy", "pillow", "typer", "rich", "pyyaml", "einops"),
    "jaxtyping",
    "tqdm",  # PyTorch imports it where it is installed
}
"""Distributions that generating may import, with what they themselves require."""
FORBIDDEN = {
    *("transformers", "diffusers", "open_clip", "accelerate", "torchvision", "ftfy", "timm"),
    *("huggingface_hub", "tensorboard", "requests", "httpx", "torch._dynamo", "sympy"),
}


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, f"{process.returncode}\n{out}\n{err}"
    return out, err


def test_help_needs_no_torch(start: Start) -> None:
    # benchmarks/first_image.py measures what this keeps quick.
    assert "generate" in finish(start("unclip", "--help"))[0]
    code = (
        "import sys; from unclip.cli.main import main; main(['generate', '--help'])\n"
        "assert not {'torch', 'numpy', 'PIL', 'yaml'} & set(sys.modules)"
    )
    finish(start(sys.executable, "-c", code))


def required(name: str, found: set[str]) -> set[str]:
    """A distribution and all that it requires here."""
    name = re.split(r"[^\w.-]", name, maxsplit=1)[0].lower().replace("_", "-")
    if name in found:
        return found
    try:
        requires = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return found
    found.add(name)
    for requirement in requires:
        if "extra ==" not in requirement:
            required(requirement, found)
    return found


def test_only_few_packages_are_imported(start: Start, tiny_model: Path) -> None:
    """A real run, from the prompt to the largest size; the network is not touched."""
    code = (
        "import json, sys\n"
        "def watch(event, _):\n"
        "    assert not event.startswith('socket.'), event\n"
        "sys.addaudithook(watch)\n"
        "from unclip.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    out, _ = finish(
        start(
            sys.executable, "-c", code, "generate", "a red apple", "--model", tiny_model, "--json"
        )
    )
    result, modules = map(json.loads, out.splitlines())
    assert result["pictures"][0]["size"] == 1024
    assert not FORBIDDEN & set(modules)
    allowed: set[str] = set()
    for name in ALLOWED:
        required(name, allowed)
    owners = importlib.metadata.packages_distributions()
    for top in {module.partition(".")[0] for module in modules} - {"distutils"}:
        names = {owner.lower().replace("_", "-") for owner in owners.get(top, [])}
        ours = top in ("unclip", "prior", "decoder", "upsamplers", "_distutils_hack")
        assert ours or not names or names & allowed, f"{top} of {names} was imported"


@pytest.mark.skipif(
    not (bundled_folder() / INDEX).is_file(), reason="there is no bundled pocket model yet"
)
def test_the_first_command_of_a_new_user(start: Start, tmp_path: Path) -> None:
    out, err = finish(
        start("unclip", "generate", "an astronaut riding a horse, pencil drawing", "--seed", "1")
    )
    assert out == "an-astronaut-riding-a-horse-pencil-drawing-1.png\n"
    assert err.startswith("using the bundled pocket model (")
    assert read_picture_text(tmp_path / out.strip()).width == 1024


@pytest.mark.slow
def test_generate_and_repro(start: Start, tiny_model: Path, tmp_path: Path) -> None:
    out, err = finish(
        start(
            *("unclip", "generate", "a red apple", "--model", tiny_model, "--out", "o/", "-n", "2")
        )
    )
    paths = [tmp_path / line for line in out.splitlines()]
    assert [read_picture_text(path).width for path in paths] == [1024] * 2
    seed = int(re.findall(r"^seed (\d+)$", err, re.MULTILINE)[0])
    assert [read_record(path).seed for path in paths] == [seed, seed + 1]
    out, err = finish(start("unclip", "repro", paths[1], "--model", tiny_model, "--json"))
    assert json.loads(out)["equal"] is True


def test_an_old_locale_gets_escapes(start: Start, tiny_model: Path, tmp_path: Path) -> None:
    arguments = ("generate", "ключ", "--model", tiny_model, "--size", "64", "--seed", "1")
    out, _ = finish(start("unclip", *arguments, PYTHONIOENCODING="ascii"))
    assert out == "ключ-1.png\n".encode("ascii", "backslashreplace").decode()
    assert (tmp_path / "ключ-1.png").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("info", "pocket", "--json")])
def test_output_that_cannot_be_written(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "unclip", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


def test_a_reader_that_left(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "unclip", "info", "pocket", "--json"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "")


def test_as_a_module_with_prompts_from_stdin(tiny_model: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "unclip", "generate", "--prompts", "-", "--json"),
            *("--size", "64", "--model", str(tiny_model)),
        ],
        cwd=tmp_path,
        input="a\nb\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(done.stdout)["pictures"]) == 2
    assert "seed" in done.stderr


def wait_for_pictures(folder: Path, process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 90
    while len(list(folder.glob("*.png"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_keeps_what_is_finished(
    start: Start, tiny_model: Path, tmp_path: Path, number: int, code: int
) -> None:
    process = start(
        *("unclip", "generate", "x", "-n", "9999", "--out", "o/", "--json", "--size", "256"),
        *("--model", tiny_model),
    )
    wait_for_pictures(tmp_path / "o", process, 2)
    process.send_signal(number)
    out, err = finish(process, code)
    result = json.loads(out)
    files = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "o").iterdir())
    assert files == sorted(picture["path"] for picture in result["pictures"])
    assert 2 <= len(files) < 9999
    assert f"{len(files)} of 9999 pictures are finished and kept" in err
    assert (result["ok"], result["exit_code"]) == (False, code)
    for name in files:
        Image.open(tmp_path / name).load()
        assert read_record(tmp_path / name).prompt == "x"


@pytest.mark.parametrize("seconds", [0.45, 0.6, 0.8, 1.0])
def test_a_signal_while_the_model_loads(start: Start, tiny_model: Path, seconds: float) -> None:
    process = start("unclip", "generate", "x", "-n", "500", "--model", tiny_model)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, err = finish(process, 130)
    assert out == ""
    assert "Traceback" not in err


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def launch(
    start: Start, tiny_model: Path, *more: str, world: int = 2
) -> list[subprocess.Popen[str]]:
    """Starts the processes that a launcher would start."""
    port = free_port()
    command = ("unclip", "generate", "--prompts", "p.txt", "--size", "64", "--json")
    return [
        start(
            *(*command, "--model", tiny_model, *more),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(world),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
        )
        for rank in range(world)
    ]


def test_prompts_are_split_over_processes(start: Start, tiny_model: Path, tmp_path: Path) -> None:
    prompts = ["a", "b", "c"]
    (tmp_path / "p.txt").write_text("\n".join(prompts))
    first, second = launch(start, tiny_model, "--out", "o/x.png")
    (out, _), other = finish(first), finish(second)
    assert other == ("", "")
    result = json.loads(out)
    seeds = [result["seed"] + i for i in range(3)]
    assert [picture["seed"] for picture in result["pictures"]] == seeds
    assert [picture["prompt"] for picture in result["pictures"]] == prompts
    for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True), 1):
        record = read_record(tmp_path / "o" / f"x_00{number}.png")
        assert (record.prompt, record.seed) == (prompt, seed)
    assert len(list((tmp_path / "o").iterdir())) == 3


@pytest.mark.slow
def test_a_process_that_fails_is_told_of(start: Start, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a\nb\nc")
    (tmp_path / "x_002.png").write_text("in the second one's way")
    first, second = launch(start, tiny_model, "--out", "x.png")
    (out, err), other = finish(first, 2), finish(second, 2)
    assert other == ("", "")
    assert "process 1 failed: x_002.png exists: pass --force" in err
    assert [picture["path"] for picture in json.loads(out)["pictures"]] == [
        "x_001.png",
        "x_003.png",
    ]


@pytest.mark.slow
def test_under_accelerate_launch(start: Start, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("\n".join("abcde"))
    accelerate = Path(sys.executable).with_name("accelerate")
    process = start(
        *(accelerate, "launch", "--multi_gpu", "--num_processes", "2"),
        *("--main_process_port", free_port(), "-m", "unclip", "generate"),
        *("--prompts", "p.txt", "--size", "64", "--model", tiny_model, "--out", "o/x", "--json"),
        ACCELERATE_USE_CPU="true",
    )
    out, _ = finish(process)
    pictures = json.loads(out.splitlines()[-1])["pictures"]
    assert [picture["path"] for picture in pictures] == [f"o/x_00{i}.png" for i in range(1, 6)]


@pytest.mark.slow
def test_from_training_to_a_picture(start: Start, tiny_chain: Any, tmp_path: Path) -> None:
    """Stages that were trained, assembled and asked for a picture, all by their commands."""
    parts = [f"{name}={tiny_chain.folder / name}" for name in ("clip", "prior", "decoder")]
    parts.append(
        "upsamplers=" + ",".join(str(tiny_chain.final(f"upsampler_{s}")) for s in (256, 1024))
    )
    finish(start("unclip", "assemble", *parts, "--out", "m"))
    out, _ = finish(start("unclip", "generate", "a red apple", "--model", "m", "--seed", "1"))
    assert out == "a-red-apple-1.png\n"
    assert read_picture_text(tmp_path / "a-red-apple-1.png").width == 1024
    finish(start("unclip", "variations", "a-red-apple-1.png", "--model", "m", "--out", "v"))
    finish(start("unclip", "info", "m"))
