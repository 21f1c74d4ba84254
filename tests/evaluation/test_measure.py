"""The suite on artists whose skill is known."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from drawn_pictures import RGB, add_disc, plain
from small_artists import ColourJudge, Copyist, Scribbler
from torch import Tensor

from unclip.errors import BackendError
from unclip.evaluation.bundled import BundledWorld
from unclip.evaluation.enlarging import enlarging
from unclip.evaluation.facts import Facts, Shown
from unclip.evaluation.figures import Bench, shows_count, shows_no_colour
from unclip.evaluation.measure import Measured, lay_out, measure, score, short_score
from unclip.evaluation.report import as_data, table
from unclip.evaluation.suite import Case, Plan

WORLD = BundledWorld()
PLAN = Plan(
    pictures={
        "seen": 12,
        "heldout_drawings": 5,
        "colour": 10,
        "grey": 6,
        "count": 6,
        "astronaut": 2,
        "diversity": 8,
    },
    variations=5,
    reference=50,
    enlarged={256: 2, 1024: 1},
)


@pytest.fixture(scope="module")
def work():
    return lay_out(WORLD, PLAN, (64, 256))


@pytest.fixture(scope="module")
def copied(work) -> tuple[Measured, list[str]]:
    cases = [case for found in work.cases.values() for case in found]
    counted: list[str] = []
    artist = Copyist(WORLD, cases)
    return measure(artist, ColourJudge(), WORLD, work, counted.append), counted


def test_what_cannot_be_had_is_said(work, copied) -> None:
    assert set(work.cases) == {"seen", "colour", "grey", "count", "astronaut", "diversity"}
    assert work.left_out == (
        "R-precision@1 of 100, held-out drawings (needs --set)",
        "KID and FID (needs --set)",
    )
    assert copied[0].left_out == work.left_out
    assert [figure.key for figure in copied[0].figures if "1024" in figure.key] == []


def test_progress_counts_every_picture(work, copied) -> None:
    counted = copied[1]
    assert {group: counted.count(group) for group in work.totals} == {
        "seen": 12,
        "colour": 10,
        "grey": 6,
        "count": 6,
        "astronaut": 2,
        "diversity": 8,
        "variations": 5,
        "upsampling": 3 - 1,
    }


def test_the_truth_reaches_the_ceiling(copied) -> None:
    for figure in copied[0].figures:
        if figure.unit == "share":
            assert figure.made == figure.real, figure.key
    assert copied[0]["colour"].made.value >= 0.9
    assert copied[0]["grey"].made.value == 1.0
    assert copied[0]["variations_cosine"].made.value == pytest.approx(1.0, abs=1e-5)
    assert score(copied[0]) == 1.0


def test_noise_shows_nothing(work, copied) -> None:
    found = measure(Scribbler(), ColourJudge(), WORLD, _without_sizes(work), lambda _: None)
    for key in ("grey", "retrieval_seen"):
        assert found[key].made.value == 0.0
    assert found["colour"].made.value < 0.5
    assert found["diversity"].made.value > 0
    assert score(found) < 0.3
    again = measure(Scribbler(), ColourJudge(), WORLD, _without_sizes(work), lambda _: None)
    assert again == found


def _without_sizes(work):
    return replace(work, plan=replace(work.plan, enlarged={}))


def test_enlarging_by_bicubic_is_the_bicubic_row(copied) -> None:
    measured = copied[0]
    assert measured["psnr_256_model"].made == measured["psnr_256_bicubic"].made
    assert measured["psnr_gain_256"].made.value == 0.0
    assert measured["psnr_256_lanczos"].made.value > measured["psnr_256_bicubic"].made.value
    true = measured["edge_width_256_model"].real
    assert true is not None
    assert true.value < measured["edge_width_256_lanczos"].made.value


def test_a_true_enlargement_has_no_error() -> None:
    truth = add_disc(plain(size=256), 128, 128, 80, RGB["blue"])[None]

    class Oracle(Scribbler):
        sizes = (64, 256)

        def enlarge(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
            return truth

    found = {figure.key: figure.made.value for figure in enlarging(Oracle(), truth, print)}
    assert found["psnr_256_model"] == 120
    assert found["edge_width_256_model"] < found["edge_width_256_bicubic"]


def test_a_blank_picture_is_no_black_and_white_one() -> None:
    cases = WORLD.cases("grey", 3)
    drawn = add_disc(plain(), 32, 32, 9, (0.4, 0.4, 0.4))
    images = torch.stack([plain(), drawn, add_disc(plain(), 32, 32, 9, RGB["red"])])
    assert shows_no_colour(images, cases).tolist() == [False, True, False]


class Discs:
    """A world of discs, which has counts and pictures for a reference."""

    name, num_reference = "discs", 20

    def needs(self, group):
        raise AssertionError("it knows all that is asked")

    def cases(self, group, count):
        return [self._case(2 + i % 3, i) for i in range(count)]

    def _case(self, count: int, key: int) -> Case:
        thing = Shown(noun=f"ball {key}", colour="red")
        return Case(
            prompt=f"{key}", facts=Facts(kind="count", things=(thing,), count=count), key=key
        )

    def truth(self, cases, size_px, take=0):
        images = []
        for case in cases:
            image = plain(size=size_px)
            for x, y in [(16, 16), (48, 16), (16, 48), (48, 48)][: case.facts.count]:
                add_disc(image, x, y, 8 + case.key % 4, RGB["red"])
            images.append(image)
        return torch.stack(images)

    def reference(self, count, size_px):
        return self.truth(self.cases("count", count), size_px)

    def renders(self, count, size_px):
        return self.reference(count, size_px)


def test_counts_and_distances() -> None:
    world = Discs()
    plan = Plan(pictures={"count": 9, "seen": 8}, reference=20, enlarged={})
    work = lay_out(world, plan, (64,))
    assert work.left_out == ()
    cases = [case for found in work.cases.values() for case in found]
    found = measure(Copyist(world, cases), ColourJudge(), world, work, lambda _: None)
    assert found["count"].made.value == 1.0
    assert found["fid"].made == found["fid"].real
    worse = measure(Scribbler(), ColourJudge(), world, work, lambda _: None)
    assert worse["count"].made.value == 0.0
    assert worse["fid"].made.value > found["fid"].made.value
    assert worse["kid"].made.low > found["kid"].made.high
    assert not shows_count(world.truth(cases[:3], 64), cases[3:6][::-1]).all()


def test_what_can_fail_fails_before_the_first_picture() -> None:
    class NoRenderer(Discs):
        def renders(self, count, size_px):
            raise BackendError("no renderer")

    class Sizes(Scribbler):
        sizes = (64, 256)

        def paint(self, prompts, seeds):
            raise AssertionError("it paints before it renders")

    world = NoRenderer()
    work = lay_out(world, Plan(pictures={"count": 3}, enlarged={256: 1}), (64, 256))
    with pytest.raises(BackendError, match="no renderer"):
        measure(Sizes(), ColourJudge(), world, work, lambda _: None)


def test_short_score_is_one_number() -> None:
    found = short_score(Scribbler(), ColourJudge(), WORLD)
    assert 0 <= found < 0.3
    assert found == short_score(Scribbler(), ColourJudge(), WORLD)


def test_table_and_data(copied) -> None:
    measured = copied[0]
    lines = table(measured.figures)
    assert lines[0].split()[:2] == ["figure", "model"]
    assert len(lines) == 1 + len(measured.figures)
    assert all(len(line) <= 120 for line in lines)
    colour = next(line for line in lines if line.startswith("colour asked for"))
    assert colour.count("%") == 2
    data = as_data(measured)
    assert data["figures"]["colour"]["made"]["count"] == 10
    assert data["left_out"] == list(measured.left_out)
    assert data["score"] == score(measured)


def test_features_of_all_retrievals_are_kept() -> None:
    bench = Bench(Scribbler(), ColourJudge(), WORLD, lambda _: None)
    cases = WORLD.cases("seen", 4)
    bench.retrieval("seen", cases, "text")
    made, real = bench.features["seen"]
    assert made.shape == real.shape == (4, 12)
