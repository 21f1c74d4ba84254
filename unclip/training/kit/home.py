"""What a kit brings back: light checkpoints and stages in small parts, logs, and `kit.json`."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from unclip.errors import ConfigError
from unclip.training import carry
from unclip.training.kit.contents import ABOUT, MAX_BYTES
from unclip.training.kit.launch import OUTPUT
from unclip.training.kit.logs import pack_logs
from unclip.training.kit.session import RECORD

NAMES = ("log.jsonl", "scores.jsonl", "config.yaml", OUTPUT)


def bring_back(kit: Path, out: Path, stages: Sequence[str]) -> list[Path]:
    """Writes the runs of these stages, or of all that were trained in this kit; returns the files.

    They are at most eight, of at most 16 MiB each and 60 MiB together.

    Raises:
        ConfigError: nothing was trained here, or it is too much for once.
        CheckpointError: a run has no whole checkpoint.
    """
    record = kit / RECORD
    if not record.is_file():
        raise ConfigError(f"nothing was trained in {kit}: kit.sh train first")
    calls = json.loads(record.read_text(encoding="utf-8"))["calls"]
    trained = dict.fromkeys(stage for call in calls for stage in call["trained"])
    about = json.loads((kit / ABOUT).read_text(encoding="utf-8"))
    folders = [(kit / about["set"]).parent / stage for stage in stages or trained]
    runs = [run for run in folders if stages or any((run / "checkpoints").glob("step_*"))]
    if not runs:
        raise ConfigError(f"no stage in {kit} has a checkpoint yet: kit.sh train first")
    files = [*carry.pack(runs, out), pack_logs(runs, NAMES, out), out / RECORD.name]
    shutil.copyfile(record, out / RECORD.name)
    total = sum(path.stat().st_size for path in files)
    if total > MAX_BYTES:
        raise ConfigError(
            f"all together is {total / 2**20:.1f} MiB, at most {MAX_BYTES // 2**20}: name fewer "
            "stages, and bring them back one after another"
        )
    return files
