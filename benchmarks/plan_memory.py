"""The memory that `unclip plan` predicts beside what a training run takes, on a CPU in float32.

    python -m benchmarks.plan_memory                # minutes: three stages of a moderate size
    python -m benchmarks.plan_memory --size small

Each run is a fresh process that trains by the one loop. Measured is its largest resident set in
steps 2 and 3 (AdamW's moments are there from the first on) less what was resident before the stage
was made. glibc is told to give freed memory back at once, as CUDA's allocator reuses it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from benchmarks.ablations.results import write_json
from benchmarks.speed.machine import ROOT, commit, machine, versions
from unclip.checkpoint import StageFolder, save_stage
from unclip.clip.config import CLIPConfig, ImageConfig, TextConfig
from unclip.clip.encoder import CLIP
from unclip.clip.files import clip_to_stage
from unclip.clip.tokenize import Tokenizer, open_clip_merges
from unclip.config import load_config, to_dict
from unclip.errors import BackendError, run_command
from unclip.planning.kinds import open_run
from unclip.planning.memory import measure, whole

RECORD = ROOT / "benchmarks" / "records" / "plan_memory.json"
TOLERANCE = 0.15
"""Largest difference that is allowed, as a share of what was measured."""
STEPS = 4
TOKENS, EMBED, TEXT_WIDTH = 32, 32, 32
TRAIN = {"steps": STEPS, "lr": 1e-4, "precision": "float32", "log_every": 1, "sheet_every": 1000}


def _unet(channels: Sequence[int], attention: bool, **more: Any) -> dict[str, Any]:
    levels = [False, *[attention] * (len(channels) - 1)]
    return {"channels": list(channels), "depth": 2, "attention": levels, **more}


def _configs(scale: int) -> dict[str, dict[str, Any]]:
    """The three runs, `scale` times as wide as the small ones."""
    prior: dict[str, Any] = {"embed_dim": EMBED, "text_width": TEXT_WIDTH, "context_length": TOKENS}
    prior |= {"num_layers": 6, "num_heads": 6 * scale, "head_dim": 64}
    decoder: dict[str, Any] = {"embed_dim": EMBED, "text_width": TEXT_WIDTH}
    decoder["unet"] = _unet(
        (64 * scale, 128 * scale), True, out_channels=6, context_dim=64, head_dim=32
    )
    decoder["diffusion"] = {"variance": "learned_range"}
    upsampler = {"unet": _unet((64 * scale, 128 * scale), False, in_channels=6)}
    return {
        "prior": {"model": prior, "train": TRAIN | {"batch_size": 32}},
        "decoder": {"model": decoder, "train": TRAIN | {"batch_size": 4}},
        "upsampler": {
            "crop_px": 64,
            "degradation": "blur",
            "model": upsampler,
            "train": TRAIN | {"batch_size": 4},
        },
    }


SIZES = {"small": 1, "moderate": 2}


def make_run(folder: Path, stage: str, size: str) -> Path:
    """Writes a run's file, and the CLIP and the pictures that it names; returns the file."""
    config = _configs(SIZES[size])[stage] | {"images": str(folder / "images")}
    if stage != "upsampler":
        config["clip"] = str(folder / "clip")
        _write_clip(folder / "clip")
    (folder / "images").mkdir(parents=True)
    for index, colour in enumerate(("teal", "navy", "gold", "plum")):
        Image.new("RGB", (64, 64), colour).save(folder / "images" / f"{index}.png")
        (folder / "images" / f"{index}.txt").write_text(f"a {colour} square")
    path = folder / f"{stage}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _write_clip(folder: Path) -> None:
    vocab_size = 1024
    text = TextConfig(
        width=TEXT_WIDTH,
        num_layers=1,
        num_heads=2,
        mlp_dim=64,
        context_length=TOKENS,
        vocab_size=vocab_size,
    )
    image = ImageConfig(
        width=32, num_layers=1, num_heads=2, mlp_dim=64, patch_size=16, image_size=64
    )
    config = CLIPConfig(embed_dim=EMBED, text=text, image=image)
    merges = open_clip_merges()[: vocab_size - 514]
    values, tensors, extra = clip_to_stage(CLIP(config, Tokenizer(merges, vocab_size, TOKENS)))
    save_stage(folder, StageFolder("clip", values, {}, tensors, extra))


def train(path: Path, stage: str) -> str:
    """Is the fresh process: trains, and says what was resident before and at most."""
    from decoder.config import DecoderRun
    from decoder.train import DecoderStage
    from prior.config import PriorRun
    from prior.train import PriorStage
    from unclip.training.loop import train as run_loop
    from upsamplers.config import UpsamplerRun
    from upsamplers.train import UpsamplerStage

    made = {
        "prior": (PriorRun, PriorStage),
        "decoder": (DecoderRun, DecoderStage),
        "upsampler": (UpsamplerRun, UpsamplerStage),
    }
    config_cls, make_stage = made[stage]
    _warm_up()
    before = _status("VmRSS")
    config: Any = load_config(config_cls, path)
    recorder: Any = _Recorder(make_stage(config))
    run_loop(recorder, config.train, path.parent / "out", to_dict(config))
    return json.dumps({"before": before, "peak": recorder.peaks[-1]})


class _Recorder:
    """A stage that notes the peak so far whenever its loss is asked for."""

    def __init__(self, stage: Any) -> None:
        self._stage = stage
        self.peaks: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def loss(self, model: nn.Module, batch: dict[str, Any], draws: Any) -> dict[str, Tensor]:
        self.peaks.append(_status("VmHWM"))
        return self._stage.loss(model, batch, draws)


def _warm_up() -> None:
    """Loads what PyTorch, Accelerate and TensorBoard load once."""
    import accelerate  # noqa: F401
    import torch.utils.tensorboard

    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Linear(6, 6))
    network(torch.zeros(1, 3, 8, 8)).sum().backward()
    torch.optim.AdamW(network.parameters(), fused=True).step()


def _status(name: str) -> int:
    """A size that Linux keeps of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def predict(path: Path) -> float:
    """Bytes that the planner expects of one process."""
    run = open_run(path, text_tokens=TOKENS)
    steps = measure(
        run.network, partial(run.loss, run.train.batch_size), autocast=False, alone=True
    )
    averages = len(run.train.ema_stds)
    return whole(run.parameters, steps, averages=averages, recompute=False, alone=True).total


def compare(stage: str, size: str) -> dict[str, float]:
    """Predicts and measures a run; bytes, and their ratio.

    Raises:
        BackendError: the run fails.
    """
    with tempfile.TemporaryDirectory() as place:
        path = make_run(Path(place), stage, size)
        predicted = predict(path)
        command = [sys.executable, "-m", "benchmarks.plan_memory", "--train", str(path)]
        given_back = {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}
        env = {**os.environ, **given_back, "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BackendError(f"the training run failed: {reason}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    measured = found["peak"] - found["before"]
    return {"predicted": predicted, "measured": measured, "ratio": predicted / measured}


def run(stages: Sequence[str], size: str, path: Path) -> str:
    """Compares all stages, and keeps the record.

    Raises:
        BackendError: a run fails, or a prediction is further off than allowed.
    """
    found = {stage: compare(stage, size) for stage in stages}
    about = {
        "machine": to_dict(machine(torch.device("cpu"))),
        "versions": dict(versions()),
        "commit": commit(),
        "size": size,
    }
    write_json(path, about | {"stages": found})
    lines = [_line(stage, values) for stage, values in found.items()]
    off = [stage for stage, values in found.items() if abs(values["ratio"] - 1) > TOLERANCE]
    if off:
        raise BackendError(f"{'; '.join(lines)}: more than {TOLERANCE:.0%} off: {', '.join(off)}")
    return "\n".join(lines)


def _line(stage: str, values: Mapping[str, float]) -> str:
    predicted, measured = values["predicted"] / 1e9, values["measured"] / 1e9
    return (
        f"{stage:10} predicted {predicted:.3f} GB, measured {measured:.3f} GB, "
        f"ratio {values['ratio']:.3f}"
    )


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_memory")
    parser.add_argument("--size", choices=SIZES, default="moderate")
    parser.add_argument("--stage", action="append", choices=sorted(_configs(1)))
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.train is not None:
        return run_command(lambda: train(options.train, options.train.stem))
    stages = options.stage or list(_configs(1))
    return run_command(lambda: run(stages, options.size, options.record))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
