"""The whole page of a tiny model, a small set and a judge of random weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from small_artists import save_small_judge
from small_set import write_small_set

from benchmarks.pocket_page.__main__ import main
from benchmarks.pocket_page.page import BEGIN, END
from benchmarks.pocket_page.runs import Hardware, Point, Run
from unclip.config import to_dict
from unclip.pipeline.folders import read_model

STAGES = ("clip", "prior", "decoder")
ABLATION = {
    "key": "ema",
    "kept": None,
    "real": {},
    "arms": [{"name": name, "figures": {}, "cost": {"gflops": 1.0}} for name in ("0", "0.9")],
}
MARKED = f"# unclip\n\n{BEGIN}an older picture\n{END}\n## Start\n"


@pytest.fixture(scope="module")
def here(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the page is made of."""
    folder = tmp_path_factory.mktemp("page")
    write_small_set(folder / "set")
    save_small_judge(folder / "judge")
    laptop = Hardware(machine="a laptop", unit="CPU core", units=2)
    runs = [
        Run(
            name=stage,
            stage=stage,
            parameters=1000,
            steps=9,
            batch_size=8,
            seconds=36.0,
            hardware=laptop,
            points=(Point(samples=72, loss=0.5),),
        )
        for stage in STAGES
    ]
    (folder / "runs.json").write_text(json.dumps([to_dict(run) for run in runs]))
    for name in ("ablations", "sweeps"):
        (folder / f"{name}.json").write_text(json.dumps([ABLATION | {"question": name}]))
    made = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 40}
    colour = {"text": "colour", "unit": "share", "made": made, "real": made, "reals": "real"}
    figures = {
        "world": "the set x",
        "judge": "j",
        "score": 0.25,
        "figures": {"colour": colour},
        "left_out": [],
        "model": {"name": "tiny", "hash": read_model(tiny_runs / "model").hash},
    }
    (folder / "figures.json").write_text(json.dumps(figures))
    (folder / "README.md").write_text(MARKED)
    return folder


@pytest.fixture(scope="module")
def make(here: Path, tiny_runs: Path) -> Callable[..., int]:
    def command(*more: str) -> int:
        arguments = ["--model", str(tiny_runs / "model"), "--size", "64", "--looked-at", "4"]
        arguments += ["--failures", "2", "--before", str(here / "figures.json")]
        arguments += [
            "--ablations",
            *(str(here / f"{name}.json") for name in ("ablations", "sweeps")),
        ]
        for name in ("runs", "figures"):
            arguments += [f"--{name}", str(here / f"{name}.json")]
        for option, place in (("out", "docs"), ("readme", "README.md"), ("card", "card.md")):
            arguments += [f"--{option}", str(here / place)]
        for name in ("set", "judge"):
            arguments += [f"--{name}", str(here / name)]
        return main([*arguments, *more])

    return command


@pytest.fixture(scope="module")
def page(make: Callable[..., int], here: Path) -> str:
    assert make() == 0
    return (here / "docs" / "pocket.md").read_text()


@pytest.mark.slow
def test_every_picture_is_there(page: str, here: Path) -> None:
    shown = [part.partition(")")[0] for part in page.split("](pocket/")[1:]]
    assert shown == [
        *("sheet_1.webp", "sheet_2.webp", "astronaut_1024.webp", "failures.webp", "losses.svg")
    ]
    for name in shown:
        assert (here / "docs" / "pocket" / name).stat().st_size > 500
    sizes = {}
    for name in ("astronaut_1024", "sheet_1", "readme", "failures"):
        with Image.open(here / "docs" / "pocket" / f"{name}.webp") as picture:
            sizes[name] = picture.size
    assert sizes == {
        "astronaut_1024": (1024, 1024),
        "sheet_1": (6 * 70 + 6, 4 * (64 + 44) + 6),
        "readme": (4 * 70 + 6, 2 * (64 + 44) + 6),
        "failures": (2 * 262 + 6, 4 * (128 + 44) + 6),
    }


def test_the_page_says_what_files_say(page: str, here: Path) -> None:
    assert "${" not in page
    assert "48 fixed prompts" in page
    assert "**0 of 1 are reached**" in page
    assert (
        "| colour | 50.0 % (40 to 60) | 50.0 % (40 to 60) | 50.0 % (40 to 60) | 40 | 95.0 % |"
        in page
    )
    assert "a laptop" in page
    assert "0.06 CPU core-hours" in page
    assert "elephant" in page
    assert "**ablations** Kept: not decided." in page
    assert "**sweeps** Kept: not decided." in page
    assert str(here) not in page


def test_the_card_and_the_readme(page: str, here: Path) -> None:
    card = (here / "card.md").read_text()
    assert card.startswith("---\nlibrary_name: unclip\n")
    assert "# tiny\n" in card
    assert "score 0.250" in card
    assert "${" not in card
    readme = (here / "README.md").read_text()
    assert readme.startswith(f"# unclip\n\n{BEGIN}\n![")
    assert readme.endswith(f"\n\n{END}\n## Start\n")
    assert "an older picture" not in readme
    assert "](docs/pocket/readme.webp)" in readme


def test_pictures_may_be_kept(page: str, make: Callable[..., int], here: Path) -> None:
    sheet = here / "docs" / "pocket" / "sheet_1.webp"
    before = sheet.stat().st_mtime_ns
    (here / "docs" / "pocket.md").unlink()
    assert make("--keep-pictures") == 0
    assert (here / "docs" / "pocket.md").read_text() == page
    assert sheet.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--size", "65"], "--size is 65"),
        (["--out", "{here}/elsewhere", "--keep-pictures"], "leave out --keep-pictures"),
        (["--readme", "{here}/card.md"], "once each"),
        (["--judge", "{here}"], "is no stage folder"),
        (["--runs", "{here}/none.json"], "cannot read"),
        (["--figures", "{here}/other.json"], "is of the model another"),
        (["--recipe", "configs/tiny"], "expected scenes"),
    ],
)
def test_refused_before_anything_is_painted(
    page: str,
    make: Callable[..., int],
    here: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    reason: str,
) -> None:
    other = json.loads((here / "figures.json").read_text()) | {"model": {"hash": "another"}}
    (here / "other.json").write_text(json.dumps(other))
    capsys.readouterr()
    assert make(*(part.replace("{here}", str(here)) for part in more)) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.startswith("error: ")
    assert "painted" not in said.out
