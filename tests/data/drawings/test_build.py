"""A whole build from tiny packages: what is written, what is kept, what stops it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from unclip.data.drawings.build import build
from unclip.data.drawings.catalogue import SOURCES, choose
from unclip.data.drawings.folder import check_target
from unclip.data.drawings.journal import JOURNAL
from unclip.data.drawings.packages import ICONIFY
from unclip.data.drawings.records import TABLE, read_table
from unclip.data.drawings.summary import Summary
from unclip.data.images import read_folder
from unclip.errors import ConfigError, DataError, InputError

NPM = ("noto", "emojione-mono", "icon-park")
ALL = (*NPM, "openmoji", "fluent-3d", "openclipart", "tuxpaint")


def run(out: Path, cache: Path, notes, names: tuple[str, ...] = NPM) -> Summary:
    sources = [SOURCES[name] for name in names]
    versions = {package.name: "1.0" for source in sources for package in source.packages}
    return build(out, sources, cache, notes, jobs=1, versions=versions, unpinned=names)


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_a_whole_set(more_packages: Path, notes, tmp_path: Path) -> None:
    out = tmp_path / "set"
    summary = run(out, more_packages, notes, ALL)
    drawings = read_table(out)
    assert summary.drawings == drawings
    # A blank icon is left out; the grey photo of a mouse is there.
    assert summary.dropped["empty"] == 1
    assert [d.id for d in drawings if d.source == "noto"] == [
        *("noto__waving-hand", "noto__waving-hand-light", "noto__cat-face", "noto__red-apple"),
        *("noto__horse-racing", "noto__france"),
    ]
    for drawing in drawings:
        with Image.open(out / drawing.file_name) as image:
            assert (image.size, image.mode) == ((256, 256), "RGBA")
        assert (drawing.svg is None) == (drawing.source in ("fluent-3d", "tuxpaint"))
        assert drawing.svg is None or (out / drawing.svg).read_text().startswith(("<svg", "\n<svg"))
        assert 2 <= len(drawing.captions) <= 9
    assert len(read_folder(out)) == len(drawings)
    by_id = {drawing.id: drawing for drawing in drawings}
    apple = by_id["noto__red-apple"]
    assert (apple.colors, apple.tier, apple.weight) == ((("red", 1.0),), "A", 1.0)
    assert by_id["noto__france"].weight == 0.3
    assert by_id["noto__horse-racing"].name == "jockey riding a horse"
    assert notes.done == {"sources": len(ALL), "drawings": sum(summary.chosen.values())}
    frog = next(drawing for drawing in drawings if drawing.source == "openclipart")
    assert frog.attribution == "Open Clip Art Library 0.18, Ann Artist"


def test_third_party_page(more_packages: Path, notes, tmp_path: Path) -> None:
    run(tmp_path / "set", more_packages, notes, ALL)
    page = (tmp_path / "set" / "THIRD_PARTY_DATA.md").read_text()
    for source in ALL:
        assert f"| `{source}`: " in page
        assert SOURCES[source].author in page
    assert "| 6 | Google | Apache-2.0 | @iconify/json 1.0 |" in page
    assert "EmojiOne 2 Monotone by Emoji One, https://" in page
    assert "rendered, captioned and used for training" in page
    assert "creativecommons.org/licenses/by-sa/4.0/" in page
    assert "Ann Artist (1)" in page
    assert "Unicode-3.0" in page


def test_a_second_run_changes_nothing(cache: Path, notes, tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert run(out, cache, notes).rendered == 9 + 1
    before = contents(out)
    assert run(out, cache, notes).rendered == 0
    assert contents(out) == before
    assert run(tmp_path / "again", cache, notes).rendered == 10
    assert contents(tmp_path / "again") == before


def test_a_damaged_picture_is_made_again(cache: Path, notes, tmp_path: Path) -> None:
    out = tmp_path / "set"
    drawings = run(out, cache, notes).drawings
    before = contents(out)
    picture, vector = out / drawings[0].file_name, out / str(drawings[1].svg)
    picture.write_bytes(picture.read_bytes()[:-1])
    vector.unlink()
    assert run(out, cache, notes).rendered == 2
    assert contents(out) == before


def test_a_changed_drawing_is_made_again(cache: Path, notes, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(out, cache, notes)
    path = ICONIFY.folder(cache) / "json" / "emojione-monotone.json"
    path.write_text(path.read_text().replace("#000", "#111"))
    assert run(out, cache, notes).rendered == 2


def test_torn_journal(cache: Path, notes, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(out, cache, notes)
    journal = out / JOURNAL
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join(lines[:4]) + b"\n" + lines[4][:30])
    assert run(out, cache, notes).rendered == 6
    assert run(out, cache, notes).rendered == 0


def test_copies_are_dropped(cache: Path, notes, tmp_path: Path) -> None:
    path = ICONIFY.folder(cache) / "json" / "emojione-monotone.json"
    icons = json.loads(path.read_text())
    icons["icons"]["cupcake"] = icons["icons"]["cat-face"]
    path.write_text(json.dumps(icons))
    summary = run(tmp_path / "set", cache, notes, ("emojione-mono",))
    assert [drawing.id for drawing in summary.drawings] == ["emojione-mono__cat-face"]
    assert summary.dropped == {"copy": 1}
    assert len(list((tmp_path / "set").rglob("*.webp"))) == 1
    again = run(tmp_path / "set", cache, notes, ("emojione-mono",))
    assert (again.rendered, again.dropped) == (0, {"copy": 1})
    # The first one changed: what was its copy is a drawing of its own.
    icons["icons"]["cat-face"] = {"body": '<rect width="20" height="20"/>'}
    path.write_text(json.dumps(icons))
    changed = run(tmp_path / "set", cache, notes, ("emojione-mono",))
    assert (changed.rendered, len(changed.drawings), changed.dropped) == (2, 2, {})
    assert len(list((tmp_path / "set").rglob("*.webp"))) == 2


def many(cache: Path, good: int, bad: int) -> None:
    path = ICONIFY.folder(cache) / "json" / "emojione-monotone.json"
    icons = json.loads(path.read_text())
    bodies = [f'<rect x="{i % 30}" y="{i // 30}" width="9" height="9"/>' for i in range(good)]
    bodies += ["<rect"] * bad
    icons["icons"] = {f"thing {i}": {"body": body} for i, body in enumerate(bodies)}
    path.write_text(json.dumps(icons))


def test_one_broken_drawing_in_a_hundred(cache: Path, notes, tmp_path: Path) -> None:
    many(cache, 199, 2)
    summary = run(tmp_path / "set", cache, notes, ("emojione-mono",))
    assert sum(summary.dropped.values()) - summary.dropped["copy"] == 2
    assert any("Error" in reason for reason in summary.dropped)


def test_too_many_broken_drawings(cache: Path, notes, tmp_path: Path) -> None:
    many(cache, 8, 2)
    with pytest.raises(DataError, match="2 of 10 drawings cannot be rendered, more than 1%"):
        run(tmp_path / "set", cache, notes, ("emojione-mono",))
    assert not (tmp_path / "set" / TABLE).exists()


def test_counts_are_compared(cache: Path, notes, tmp_path: Path) -> None:
    sources = [SOURCES["noto"]]
    with pytest.raises(DataError, match=r"noto has 7 drawings, expected \d{4}: remove"):
        build(tmp_path / "set", sources, cache, notes, jobs=1, versions={})
    assert not (tmp_path / "set" / TABLE).exists()


def test_a_folder_with_other_things(cache: Path, notes, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(out, cache, notes)
    check_target(out, NPM, replace=False)
    with pytest.raises(InputError, match=r"also has emojione-mono, icon-park: .*--force"):
        check_target(out, ["noto"], replace=False)
    check_target(out, ["noto"], replace=True)
    run(out, cache, notes, ("noto",))
    assert {path.name for path in (out / "images").iterdir()} == {"noto"}
    (out / "mine.txt").touch()
    with pytest.raises(InputError, match=r"holds other things \(mine.txt\)"):
        check_target(out, NPM, replace=True)
    (out / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file"):
        check_target(out / "file", NPM, replace=False)


def test_a_table_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / TABLE).write_text('{"file_name": "a.png", "text": "mine"}\n')
    with pytest.raises(DataError, match="line 1 is no drawing"):
        check_target(tmp_path, NPM, replace=False)


def test_tiers_and_sources() -> None:
    assert {source.tier for source in choose("AB", [])} == {"A", "B"}
    assert [source.name for source in choose("c", [])] == [
        *("openmoji", "openmoji-black", "emojione-v1", "tuxpaint"),
    ]
    assert [source.name for source in choose("AB", ["twemoji", "noto"])] == ["noto", "twemoji"]
    for tiers, names, says in [
        ("", [], "expected some of A, B and C"),
        ("AD", [], "expected some of A, B and C"),
        ("AB", ["nobody"], "no source nobody: choose among noto, "),
        ("AB", ["openmoji"], "of tier C, not among --tiers AB: pass --tiers ABC"),
    ]:
        with pytest.raises(ConfigError, match=says):
            choose(tiers, names)
