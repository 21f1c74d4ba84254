"""The page's parts: what they read, what they lay out, and what they refuse."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from benchmarks.pocket_page import sheets
from benchmarks.pocket_page.ablations import ablations
from benchmarks.pocket_page.costs import costs_table, total_cost
from benchmarks.pocket_page.figures import TARGETS, Figures, figures_table, read_figures
from benchmarks.pocket_page.losses import losses_svg
from benchmarks.pocket_page.markdown import table
from benchmarks.pocket_page.prompts import read_prompts
from benchmarks.pocket_page.runs import (
    RECORD,
    Hardware,
    Point,
    Run,
    main,
    read_record,
    read_run,
    thin,
)
from benchmarks.pocket_page.sheets import Cell, save_small, sheet
from unclip.errors import ConfigError, DataError
from unclip.evaluation.facts import ASTRONAUT_PROMPT
from unclip.evaluation.figures import Figure
from unclip.evaluation.intervals import Estimate
from unclip.evaluation.measure import Measured
from unclip.evaluation.report import as_data
from unclip.evaluation.retrieval import ranks

Write = Callable[..., Path]
STAGES = ("clip", "prior", "decoder", "upsampler")


def estimate(value: float, count: int = 100) -> Estimate:
    return Estimate(value=value, low=value - 0.05, high=value + 0.05, count=count)


def figure(key: str, made: float, real: float | None = None, unit: str = "share") -> Figure:
    ceiling = None if real is None else estimate(real)
    return Figure(key=key, text=f"the {key}", unit=unit, made=estimate(made), real=ceiling)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes what `unclip eval --json` prints of some figures."""

    def file(
        *figures: Figure, judge: str = "j", world: str = "the set x", model: str = "m"
    ) -> Path:
        measured = Measured(world=world, judge=judge, figures=figures, left_out=("KID and FID",))
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps({**as_data(measured), "model": {"hash": model}}))
        return path

    return file


def test_48_prompts_in_rows_of_six() -> None:
    sections = read_prompts()
    assert [len(section.prompts) for section in sections] == [6] * 8
    assert ASTRONAUT_PROMPT in [prompt for section in sections for prompt in section.prompts]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("an apple\n", "begins with 'an apple'"),
        ("# A\na\n# B\n", "an empty section"),
        ("# A\na\n# B\na\n", "the same prompt twice"),
        ("", "an empty section"),
    ],
)
def test_prompts_that_are_none(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "prompts.txt").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_prompts(tmp_path / "prompts.txt")


def test_a_sheet_has_pictures_in_rows_with_labels_below() -> None:
    colours = ("red", "green", "blue")
    cells = [Cell(image=Image.new("RGB", (64, 64), name), label=name) for name in colours]
    page = sheet(cells, 2)
    tops = [page.getpixel((6 + 32, 6 + 32)), page.getpixel((76 + 32, 6 + 32))]
    assert tops == [(255, 0, 0), (0, 128, 0)]
    pitch = (page.height - 6) // 2
    assert page.getpixel((6 + 32, pitch + 6 + 32)) == (0, 0, 255)
    foot = page.crop((6, 70, 70, pitch + 6)).convert("L")
    assert (np.asarray(foot) < 100).any()
    nameless = sheet([Cell(image=cell.image, label="") for cell in cells], 2)
    assert nameless.crop((6, 70, 70, pitch + 6)).convert("L").getextrema() == (255, 255)


def test_a_long_label_stays_below_its_own_picture() -> None:
    image = Image.new("RGB", (96, 96), "red")
    label = "an extraordinarily long prompt about many things that nobody could ever read in full"
    page = sheet([Cell(image=image, label=label), Cell(image=image, label="")], 2)
    right = page.crop((6 + 96 + 6, 6 + 96, page.width, page.height)).convert("L")
    assert right.getextrema() == (255, 255)


def test_a_sheet_is_saved_small_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = torch.randint(0, 256, (128, 128, 3), generator=torch.Generator().manual_seed(0))
    noise = Image.fromarray(pixels.to(torch.uint8).numpy())
    path = tmp_path / "a" / "noise.webp"
    save_small(noise, path)
    whole = path.stat().st_size
    monkeypatch.setattr(sheets, "MAX_BYTES", whole - 1)
    save_small(noise, path)
    assert whole / 2 < path.stat().st_size < whole
    monkeypatch.setattr(sheets, "MAX_BYTES", whole // 10)
    with pytest.raises(DataError, match="show fewer pictures"):
        save_small(noise, tmp_path / "more.webp")
    assert not (tmp_path / "more.webp").exists()


def test_a_rank_counts_who_is_as_near() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    candidates = torch.tensor(
        [
            [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]],
            [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]],
            [[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]],
        ]
    )
    assert ranks(images, candidates).tolist() == [1, 3, 2]


def test_targets_are_the_suite_s_own_figures(write: Write) -> None:
    found = read_figures(
        write(
            figure("retrieval_seen", 0.6, 0.7),
            figure("colour", 0.95, 0.9),
            figure("psnr_gain_256", 2.5, unit="dB"),
            figure("kid", 1.5, 0.5, unit=""),
        )
    )
    lines = figures_table(found, None).splitlines()
    assert lines[0] == "| figure | model | real | n | target | reached |"
    assert lines[2] == (
        "| the retrieval_seen | 60.0 % (55 to 65) | 70.0 % (65 to 75) | 100 "
        "| 63.0 % (0.9 × real) | **no** |"
    )
    assert lines[3].endswith("| 100 | 95.0 % | yes |")
    assert lines[4] == (
        "| the psnr_gain_256 | 2.50 dB (2.45 to 2.55) | – | 100 | 3.00 dB | **no** |"
    )
    assert lines[5] == "| the kid | 1.500 (1.450 to 1.550) | 0.500 (0.450 to 0.550) | 100 |  |  |"
    assert lines[-1] == "Not measured: KID and FID."


def test_every_target_is_of_a_figure_that_the_suite_takes() -> None:
    source = "".join(
        (Path(__file__).parents[2] / "unclip" / "evaluation" / name).read_text()
        for name in ("figures.py", "enlarging.py", "suite.py")
    )
    for key in TARGETS:
        plain = key.removeprefix("retrieval_").removesuffix("_256").removesuffix("_1024")
        assert plain in source, key


def test_before_stands_beside_after(write: Write) -> None:
    after = read_figures(write(figure("colour", 0.9, 1.0), figure("grey", 0.8)))
    before = read_figures(write(figure("colour", 0.5, 1.0)))
    lines = figures_table(after, before).splitlines()
    assert lines[0].startswith("| figure | before | model |")
    assert lines[2].startswith("| the colour | 50.0 % (45 to 55) | 90.0 %")
    assert lines[3].startswith("| the grey | – | 80.0 %")
    other = read_figures(write(figure("colour", 0.5, 1.0), judge="another"))
    with pytest.raises(DataError, match="measure both with one judge"):
        figures_table(after, other)


def test_figures_that_are_none(write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="measure with unclip eval --set"):
        read_figures(write(figure("colour", 0.5, 1.0), world="the bundled illustrations"))
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(DataError, match="is not what unclip eval --json prints"):
        read_figures(tmp_path / "odd.json")
    with pytest.raises(DataError, match="cannot read"):
        read_figures(tmp_path / "none.json")


def test_figures_are_read_as_they_were(write: Write) -> None:
    read = read_figures(write(figure("colour", 0.5, 1.0), model="abc"))
    assert isinstance(read, Figures)
    assert (read.model, read.judge, read.score) == ("abc", "j", 0.5)
    assert read.rows["colour"].real == estimate(1.0)


def write_run(folder: Path, stage: Path, *, name: str, lines: list[dict]) -> Path:
    run = folder / name
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump({"train": {"batch_size": 8}}))
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "final").symlink_to(stage)
    return run


GPUS = Hardware(machine="a machine", unit="GPU", units=4)
LOG = [
    {"step": 10, "loss": 0.5, "images_per_second": 8.0},
    {"step": 30, "images_per_second": 4.0},
    {"step": 40, "loss": 0.25, "images_per_second": 2.0},
]


def test_a_run_s_cost(tiny_runs: Path, tmp_path: Path) -> None:
    from unclip.checkpoint import load_stage

    stage = tiny_runs / "prior" / "final"
    run = read_run(write_run(tmp_path, stage, name="second", lines=LOG), GPUS)
    assert (run.stage, run.steps, run.samples) == ("prior", 40, 320)
    assert run.parameters == sum(t.numel() for t in load_stage(stage).tensors.values())
    assert run.seconds == 10 + 40 + 40
    assert run.points == (Point(samples=80, loss=0.5), Point(samples=320, loss=0.25))
    line = costs_table([run]).splitlines()[-1]
    assert line.startswith(f"| prior (`second`) | {run.parameters:,} | 40 × 8 = 320 | 0.25 |")
    assert line.endswith("| a machine | 0.03 | 0.10 GPU-hours |")
    assert total_cost([run, run]) == "0.20 GPU-hours"


def test_what_is_no_run(tiny_runs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no finished training run"):
        read_run(tiny_runs / "prior", GPUS)
    stage = tiny_runs / "prior" / "final"
    run = write_run(tmp_path, stage, name="run", lines=LOG[1:2])
    with pytest.raises(DataError, match="has no loss"):
        read_run(run, GPUS)


def test_a_record_of_runs_outlives_them(
    tiny_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "records" / "runs.json"
    on = ["--machine", "a laptop", "--units", "2", "--record", str(record)]
    paths = {
        stage: write_run(tmp_path, tiny_runs / stage / "final", name=f"{stage}_1", lines=LOG)
        for stage in ("prior", "decoder")
    }
    assert main([str(paths["prior"]), str(paths["decoder"]), *on]) == 0
    laptop = Hardware(machine="a laptop", unit="CPU core", units=2)
    kept = [read_run(path, laptop) for path in paths.values()]
    assert read_record(record) == kept

    # Trained further, a run takes its own place.
    (paths["prior"] / "log.jsonl").write_text(json.dumps(LOG[0]) + "\n")
    assert main([str(paths["prior"]), *on]) == 0
    assert [(run.name, run.steps) for run in read_record(record)] == [
        ("prior_1", 10),
        ("decoder_1", 40),
    ]
    before = record.read_bytes()
    assert main([str(tmp_path / "none"), *on]) == 2
    assert "is no finished training run" in capsys.readouterr().err
    assert record.read_bytes() == before


def test_what_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    path.write_text("[]")
    with pytest.raises(DataError, match="has no list of runs"):
        read_record(path)
    path.write_text('[{"name": "decoder"}]')
    with pytest.raises(ConfigError, match=r"run 0"):
        read_record(path)


def test_the_page_s_record_is_of_the_bundled_stages() -> None:
    runs = read_record(RECORD)
    assert [run.stage for run in runs] == sorted((run.stage for run in runs), key=STAGES.index)
    for run in runs:
        assert run.points[-1].samples <= run.samples


def run_of(*losses: float) -> Run:
    points = tuple(Point(samples=(i + 1) * 10, loss=loss) for i, loss in enumerate(losses))
    return Run(
        name="a & b",
        stage="prior",
        parameters=1,
        steps=len(losses),
        batch_size=10,
        seconds=1.0,
        hardware=GPUS,
        points=points,
    )


def test_losses_fall_from_left_to_right_within_their_panel() -> None:
    drawing = ElementTree.fromstring(losses_svg([run_of(5.0, 0.5, 0.05)] * 4))
    lines = drawing.findall(".//{*}polyline")
    assert len(lines) == 4
    points = [tuple(map(float, pair.split(","))) for pair in lines[0].attrib["points"].split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    heights = [y for _, y in points]
    assert heights == sorted(heights)
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)  # logarithmic
    assert all(0 < y < 190 for y in heights)
    assert (drawing.attrib["width"], drawing.attrib["height"]) == ("900", "380")
    with pytest.raises(DataError, match="expected it above 0"):
        losses_svg([run_of(1.0, 0.0)])


def test_a_long_curve_is_thinned_by_means() -> None:
    points = thin(run_of(*[1.0, 3.0] * 160).points)
    assert len(points) == 160
    assert {point.loss for point in points} == {2.0}
    assert thin(points) == points


def test_ablations_are_tables(tmp_path: Path) -> None:
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 9}
    rows = [
        {
            "key": "ema",
            "question": "How long an average?",
            "kept": "0.999",
            "arms": [
                {"name": "0.99", "figures": {"retrieval_seen": share}, "cost": {"gflops": 1.25}},
                {"name": "0.999", "figures": {"cosine": share}, "cost": {}},
            ],
            "real": {"cosine": share},
        }
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    assert ablations(path).splitlines() == [
        "**How long an average?** Kept: 0.999.",
        "",
        "| arm | retrieval seen | cosine | gflops |",
        "| --- | --- | --- | --- |",
        "| 0.99 | 50 % (40 to 60) |  | 1.25 |",
        "| 0.999 |  | 0.500 (0.400 to 0.600) |  |",
        "| real pictures |  | 0.500 (0.400 to 0.600) |  |",
    ]
    path.write_text(json.dumps([{"key": "ema"}]))
    with pytest.raises(DataError, match="has no rows of ablations"):
        ablations(path)


def test_a_bar_in_a_cell_is_no_column() -> None:
    assert table(["a"], [["x | y"]]).splitlines()[-1] == "| x \\| y |"
