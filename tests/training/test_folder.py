"""A run's folder: one configuration, one job."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from unclip.errors import ConfigError
from unclip.training.folder import check_config, claim

CONFIG = {"images": "a", "train": {"lr": 0.1, "steps": 10, "betas": [0.9, 0.99]}}


def changed(**train: object) -> dict[str, object]:
    return {**CONFIG, "train": {**CONFIG["train"], **train}}


def test_the_same_configuration_may_go_on(tmp_path: Path) -> None:
    check_config(tmp_path, CONFIG)
    with claim(tmp_path, CONFIG):
        assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == CONFIG
    check_config(tmp_path, CONFIG)
    check_config(tmp_path, changed(steps=20, num_workers=3, log_every=1))


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (changed(lr=0.2), r"train.lr = 0.1, now it is 0.2"),
        (changed(lr=0.2, batch_size=3), r"batch_size = None, now it is 3; train.lr = 0.1, now it"),
        (changed(betas=[0.9, 0.9]), r"train.betas = \[0.9, 0.99\]"),
        ({**CONFIG, "images": "b"}, r"images = 'a', now it is 'b'"),
        ({"train": CONFIG["train"]}, r"images = 'a', now it is None"),
    ],
)
def test_another_configuration_is_refused(
    tmp_path: Path, now: dict[str, object], message: str
) -> None:
    with claim(tmp_path, CONFIG):
        pass
    with pytest.raises(ConfigError, match=message):
        check_config(tmp_path, now)


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"cannot read .*config\.yaml"):
        check_config(tmp_path, CONFIG)


def test_a_second_job_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with (
        claim(tmp_path, CONFIG),
        pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} on .*another --out"),
        claim(tmp_path, CONFIG),
    ):
        pass
    with claim(tmp_path, CONFIG):
        pass


def test_a_killed_job_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from unclip.training.folder import claim\n"
        "with claim(Path(sys.argv[1]), {}): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigError, match=f"in use by process {holder.pid}"),
            claim(tmp_path, {}),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with claim(tmp_path, {}):
        pass


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    rubbish = [
        tmp_path / "checkpoints" / "step_00000010.tmp-abc",
        tmp_path / "checkpoints" / "step_00000010.old-abc",
        tmp_path / "final.tmp-abc",
    ]
    kept = [tmp_path / "checkpoints" / "step_00000010", tmp_path / "mine.tmp-abc"]
    for folder in rubbish + kept:
        folder.mkdir(parents=True)
    with claim(tmp_path, CONFIG):
        assert not any(folder.exists() for folder in rubbish)
        assert all(folder.exists() for folder in kept)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"cannot write the run folder .*file"),
        claim(tmp_path / "file", CONFIG),
    ):
        pass
