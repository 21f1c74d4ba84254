"""`docs/speed.md`: what the records say, and nothing else."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from speed_records import record_of

from benchmarks.speed.machine import ROOT
from benchmarks.speed.page import RECORDS, make_page, write_page
from benchmarks.speed.record import read_records, write_record
from benchmarks.speed.verdict import problems
from unclip.errors import ConfigError


def test_the_committed_page_is_what_the_committed_records_give() -> None:
    for name, text in make_page().items():
        path = ROOT / "docs" / name
        assert path.read_text(encoding="utf-8") == text, (
            f"docs/{name} is not what the records give: python -m benchmarks.against_diffusers page"
        )
    charts = {path.name for path in (ROOT / "docs" / "speed").glob("*.svg")}
    assert charts == {f"{name}.svg" for name, _ in read_records(RECORDS)}


def test_the_committed_records_are_whole_and_hold() -> None:
    for name, record in read_records(RECORDS):
        assert not problems(record), name
        assert record.about.commit != "unknown", name
        assert {row.name for row in record.rows} >= {"P0", "U0"}, name


def test_a_page_of_a_record(tmp_path: Path) -> None:
    record = record_of({"P0": [2.0] * 7, "U0": [1.0] * 7, "U0-bf16": [0.9] * 7})
    write_record(tmp_path / "records" / "cpu_small.json", record)
    said = write_page(tmp_path / "docs", tmp_path / "records")
    assert said == f"wrote speed.md, speed/cpu_small.svg in {tmp_path / 'docs'}"
    page = (tmp_path / "docs" / "speed.md").read_text()
    assert "$" not in page
    assert "a CPU (avx2), 1 thread(s); python 3.12, torch 2.11; commit 0123456789ab." in page
    assert "The reference against itself: 1.000 (1.000 to 1.000)." in page
    assert "**There is no record of a GPU yet**" in page
    assert "benchmarks/gpu_check.sh\nbenchmarks/gpu_speed.sh\n" in page
    # A target that is missed is explained by where the time goes.
    assert "**CPU, equal steps, bfloat16, against P0**: 2.22, must 3.4. Where the time of" in page
    assert "| `a \\| b` | 75.0 % | 12 |" in page
    assert "Void" not in page


def test_a_void_run_is_told_and_not_hidden(tmp_path: Path) -> None:
    record = record_of({"P0": [2.0] * 7, "U0": [1.0] * 7}, again=[3.0] * 7)
    write_record(tmp_path / "cpu.json", record)
    page = make_page(tmp_path)["speed.md"]
    assert "**Void:** the reference differs from itself by 33.3%" in page


def test_techniques_that_change_pictures_have_their_own_text(tmp_path: Path) -> None:
    section = tmp_path / "approximate.md"
    assert "None has been measured yet." in make_page(tmp_path, section)["speed.md"]
    section.write_text("Fewer steps cost **1 dB**.\n")
    assert make_page(tmp_path, section)["speed.md"].endswith("\n\nFewer steps cost **1 dB**.\n")


def test_a_chart_is_the_medians(tmp_path: Path) -> None:
    record = record_of({"P0": [4.0, 2.0, 2.0], "U0": [1.0, 1.0, 9.0]})
    write_record(tmp_path / "cpu.json", record)
    drawing = ElementTree.fromstring(make_page(tmp_path)["speed/cpu.svg"])
    bars = [bar for bar in drawing.findall(".//{*}rect") if bar.attrib.get("y") in ("40", "72")]
    widths: dict[str, float] = {}
    for bar in bars:
        widths[bar.attrib["y"]] = widths.get(bar.attrib["y"], 0) + float(bar.attrib["width"])
    assert widths["40"] == pytest.approx(2 * widths["72"], rel=0.01)
    texts = [text.text for text in drawing.findall(".//{*}text")]
    assert {"P0", "U0", "2 s", "1 s", "super-res"} <= set(texts)


def test_a_damaged_record_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "cpu.json").write_text('{"about": 1}')
    with pytest.raises(ConfigError, match=r"cpu\.json"):
        make_page(tmp_path)
