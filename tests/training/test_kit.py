"""The training kit's arithmetic, what it packs, and how it launches and watches a run."""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from unclip.errors import CheckpointError, ConfigError, InputError, TrainingDivergedError
from unclip.training.kit import contents, launch
from unclip.training.kit.__main__ import main
from unclip.training.kit.contents import CONFIGS, Order, pack
from unclip.training.kit.home import bring_back
from unclip.training.kit.launch import Launch, Run, is_trained, stop_orphan
from unclip.training.kit.logs import pack_logs, unpack_logs
from unclip.training.kit.plan import MODULES, WEIGHTS, ends_in_time, in_order, share, steps_within
from unclip.training.kit.session import RECORD, Session
from unclip.training.kit.wheels import NEEDED

ROOT = Path(__file__).parents[2]


def test_the_shares_are_all_the_time() -> None:
    left, dealt = 1000.0, {}
    stages = list(MODULES)
    for place, stage in enumerate(stages):
        dealt[stage] = share(left, stages[place:], 2)
        left -= dealt[stage]
    total = sum(WEIGHTS.values()) + 2
    assert dealt == pytest.approx({name: 1000 * WEIGHTS[name] / total for name in stages})
    assert left == pytest.approx(1000 * 2 / total)  # for choosing
    # What a stage leaves over is the next one's.
    assert share(900.0, ["decoder"], 0) == 900.0


def test_steps_that_end_with_the_time() -> None:
    assert steps_within(114.0, 10.0, 0.1) == 920
    assert steps_within(5.0, 10.0, 0.1) == 0
    assert ends_in_time(10, 0.5, 5.0)
    assert not ends_in_time(11, 0.5, 5.0)


def test_stages_are_trained_in_their_order() -> None:
    assert in_order(["decoder", "clip", "decoder"]) == ["clip", "decoder"]
    with pytest.raises(ConfigError, match="'upsampler' is no stage: choose of clip"):
        in_order(["upsampler"])


def test_every_stage_of_the_recipe_can_be_trained() -> None:
    assert {path.stem for path in (ROOT / "configs" / "pocket").glob("*.yaml")} == set(MODULES)


def closure(names: list[str]) -> set[str]:
    """The modules that these distributions, and what they need, bring."""
    found: set[str] = set()
    modules: set[str] = set()
    while names:
        name = names.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        try:
            installed = distribution(name)
        except ImportError:
            continue  # for another system
        modules |= {path.parts[0].removesuffix(".py") for path in installed.files or ()}
        needs = map(Requirement, installed.requires or ())
        names += [n.name for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
    return modules


@pytest.mark.slow
def test_wheels_and_the_machine_are_all_that_training_imports() -> None:
    """Every other module of this environment is hidden, as on a bare machine."""
    there = closure(["torch", "transformers", "accelerate"]) | {"torchvision"}
    wheels = {
        path.parts[0].removesuffix(".py")
        for name in NEEDED
        for path in distribution(name).files or ()
    }
    code = f"""
import sys
allowed = {sorted(there | wheels | {"unclip", "prior", "decoder", "upsamplers"})!r}
from importlib.machinery import PathFinder
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in allowed or top in sys.stdlib_module_names or top[0] == "_":
            return PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
import unclip.training.kit.__main__, unclip.training.clip, unclip.pipeline.choose
import prior.train, decoder.train, upsamplers.train, resvg_py, ftfy, accelerate.commands.launch
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "prior.yaml").write_text("images: {set: runs/small/set}")
    monkeypatch.setenv(CONFIGS, str(folder))
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "set.tar.xz").write_bytes(os.urandom(2 * 2**20))
    return tmp_path / "set.tar.xz"


def test_what_a_kit_holds(configs: Path, archive: Path, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    listed = pack(Order(drawings=archive, python=None), kit)
    assert {line.split()[0] for line in listed} == {"set.tar.xz", "code", "about.json", "all"}
    assert listed[-1].startswith("all ")
    assert float(listed[-1].split()[1]) < 4
    for name in ("freight/set.tar.xz", "unclip/training/loop.py", "configs/small/prior.yaml"):
        assert (kit / name).is_file()
    assert os.access(kit / "configs" / "pocket" / "kit.sh", os.X_OK)
    assert not (kit / "unclip" / "pocket").exists()
    assert not (kit / "docs").exists()
    about = json.loads((kit / "freight" / "about.json").read_text())
    assert (about["configs"], about["set"]) == ("configs/small", "runs/small/set")
    with pytest.raises(InputError, match="is not empty"):
        pack(Order(drawings=archive, python=None), kit)


def test_a_kit_that_is_too_heavy(
    configs: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MAX_BYTES", 2**20)
    with pytest.raises(ConfigError, match=r"at most 1: .*set\.tar\.xz 2\.0 MiB"):
        pack(Order(drawings=archive, python=None), tmp_path / "kit")
    assert not list(tmp_path.glob("kit*"))


def test_a_recipe_without_the_set(configs: Path, archive: Path, tmp_path: Path) -> None:
    (configs / "clip.yaml").write_text("images: pictures")
    with pytest.raises(ConfigError, match="a kit has them in runs/small/set"):
        pack(Order(drawings=archive, python=None), tmp_path / "kit")


def test_logs_travel_and_never_replace(tmp_path: Path) -> None:
    run = tmp_path / "here" / "prior"
    (run / "samples").mkdir(parents=True)
    (run / "log.jsonl").write_text("1\n")
    for step in (1, 2):
        (run / "samples" / f"step_{step}.png").write_text("")
    (tmp_path / "out").mkdir()
    pack_logs([run], ("log.jsonl", "scores.jsonl"), tmp_path / "out")
    there = tmp_path / "there"
    unpack_logs(tmp_path / "out", there)
    names = sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file())
    assert names == ["prior/log.jsonl", "prior/samples/step_2.png"]
    (there / "prior" / "log.jsonl").write_text("1\n2\n")
    unpack_logs(tmp_path / "out", there)
    assert (there / "prior" / "log.jsonl").read_text() == "1\n2\n"
    (tmp_path / "out" / "logs.tar.xz").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="is damaged"):
        unpack_logs(tmp_path / "out", there)


def test_what_a_log_says(tmp_path: Path) -> None:
    run = Run(stage="prior", config=tmp_path / "prior.yaml", out=tmp_path)
    assert run.logged(0.0, 0) is None
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 5, "loss": 2.0}\n{"step": 10, "loss": 1.0}\n')
    os.utime(log, (50.0, 50.0))
    logged = run.logged(0.0, 5)
    assert logged is not None
    assert (logged.step, logged.loss, logged.at) == (10, 1.0, 50.0)
    assert run.logged(51.0, 5) is None  # written before the launch
    assert run.logged(0.0, 10) is None  # of a step before it
    log.write_text('{"step": 10, "lo')
    assert run.logged(0.0, 0) is None


TRAINER = """
import fcntl, os, signal, sys, time
out = sys.argv[sys.argv.index("--out") + 1]
if "fail" in out:
    print("error: it cannot be")
    sys.exit(2)
lock = open(f"{out}/lock", "a+")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
lock.write(f"process {os.getpid()} on here")
lock.flush()
def save(*_):
    time.sleep(0.3)
    open(f"{out}/saved", "w")
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
open(f"{out}/ready", "w")
time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose trainer is a child of its launcher, as with accelerate."""
    (tmp_path / "trainer.py").write_text(TRAINER)
    inner = f"[{sys.executable!r}, {str(tmp_path / 'trainer.py')!r}, *sys.argv[1:]]"
    (tmp_path / "launcher.py").write_text(
        f"import subprocess, sys\nsys.exit(subprocess.call({inner}))"
    )
    monkeypatch.setattr(launch, "LAUNCH", (sys.executable, str(tmp_path / "launcher.py")))
    return Run(stage="prior", config=tmp_path / "prior.yaml", out=tmp_path / "run")


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_stopped_run_saves_first(run: Run) -> None:
    with Launch(run, 10) as launched:
        wait_for(run.out / "ready")
        assert is_trained(run.out)
        assert not launched.is_over()
    assert (run.out / "saved").exists()
    assert not is_trained(run.out)


def test_what_a_killed_kit_left_is_stopped(run: Run) -> None:
    launched = Launch(run, 10)
    wait_for(run.out / "ready")
    stop_orphan(launched.process.pid + 1, run.out)  # somebody else's
    assert is_trained(run.out)
    stop_orphan(launched.process.pid, run.out)
    assert (run.out / "saved").exists()
    assert not is_trained(run.out)
    launched.process.wait()


def test_a_run_that_fails(run: Run, tmp_path: Path) -> None:
    failing = Run(stage="prior", config=run.config, out=tmp_path / "fail")
    failing.out.mkdir()
    (failing.out / "output.txt").write_text("error: of another launch\n")
    launched = Launch(failing, 10)
    launched.process.wait()
    with pytest.raises(TrainingDivergedError, match="prior failed: it cannot be"):
        launched.is_over()


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a kit"
    (folder / "freight").mkdir(parents=True)
    (folder / "configs" / "small").mkdir(parents=True)
    about = {"configs": "configs/small", "set": "runs/small/set"}
    (folder / "freight" / "about.json").write_text(json.dumps(about))
    monkeypatch.chdir(folder)
    return folder


def test_refused(
    kit: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "prior and decoder need a CLIP: train clip, too" in refused(
        "train", "1", "prior", "decoder"
    )
    (kit / "runs" / "small" / "prior" / "checkpoints" / "step_00000007").mkdir(parents=True)
    assert "clip would be trained on, but prior" in refused("train", "1", "clip")
    monkeypatch.chdir(tmp_path)
    assert "is no kit" in refused("train", "1", "prior")


def test_a_call_that_was_cut_off_goes_on(kit: Path) -> None:
    first = Session(5.0, ["clip", "prior"], 0.0)
    first.call["trained"]["clip"] = {"step": 7, "done": True}
    first._note(force=True)
    again = Session(4.0, ["prior", "clip"], 0.0)
    assert again._trained("clip").done
    assert not again._trained("prior").done
    assert not Session(4.0, ["clip"], 0.0)._trained("clip").done  # another call
    again.call["done"] = True
    again._note(force=True)
    assert not Session(4.0, ["prior", "clip"], 0.0)._trained("clip").done
    assert set(yaml.safe_load(RECORD.read_text())["calls"][0]["hardware"]) >= {"gpu", "cpus"}


def test_nothing_to_bring_back(kit: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing was trained"):
        bring_back(kit, tmp_path / "out", [])
    Session(5.0, ["clip"], 0.0)._note(force=True)
    with pytest.raises(ConfigError, match="has a checkpoint yet"):
        bring_back(kit, tmp_path / "out", [])
