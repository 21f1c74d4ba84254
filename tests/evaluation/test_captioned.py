"""Figures on captioned pictures, against closed forms, torchmetrics and torch-fidelity."""

import io
import math
import tarfile
from pathlib import Path

import pytest
import torch
from payloads import PAYLOADS
from PIL import Image
from safetensors.torch import save_file
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from unclip.errors import BackendError, CheckpointError, DataError, InputError
from unclip.evaluation.captioned.extractors import FidelityExtractor
from unclip.evaluation.captioned.matching import candidates, finds_caption
from unclip.evaluation.captioned.neighbours import inside, precision_recall, radii
from unclip.evaluation.captioned.pairs import choose_pairs, read_square, stack
from unclip.evaluation.captioned.panel import Predicted, similarity_panel
from unclip.evaluation.captioned.reals import cache_key, load_features, save_features
from unclip.evaluation.captioned.results import Compared, Read, distribution, results
from unclip.evaluation.figures import Figure

COUNT, DIM = 90, 16


def normal(seed: int) -> torch.Tensor:
    return torch.randn(COUNT, DIM, generator=torch.Generator().manual_seed(seed))


APART = torch.arange(COUNT)[:, None]
MADE = normal(0) + 8.0 * (APART >= 70)
REAL = 1.2 * normal(1) - 8.0 * (APART >= 60)
"""Most lie together; 20 of the model's and 30 of the real ones lie by themselves."""


class Given(torch.nn.Module):
    """What torchmetrics takes for a network: pictures are their features already."""

    num_features = DIM

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


class GivenCLIP(torch.nn.Module):
    """A CLIP of transformers' form whose features are its inputs."""

    config = None

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return pixel_values.flatten(1)[:, :DIM]

    def get_text_features(self, input_ids: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return REAL[input_ids]

    @staticmethod
    def process(images: list | None = None, text: list | None = None, **_: object) -> dict:
        if images is not None:
            return {"pixel_values": torch.stack(images)}
        ids = torch.tensor([int(each) for each in text or ()])
        return {"input_ids": ids, "attention_mask": torch.ones(len(ids), 1)}


def by_key(figures: list[Figure]) -> dict[str, float]:
    return {figure.key: figure.made.value for figure in figures}


def test_torch_fidelity_says_the_same() -> None:
    found = by_key(distribution(Compared(MADE, REAL)))
    stats = [fid_features_to_statistics(each) for each in (MADE, REAL)]
    fid = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert found["fid"] == pytest.approx(fid, rel=1e-4)
    kid = kid_features_to_metric(MADE, REAL, kid_subset_size=COUNT, kid_subsets=1, verbose=False)
    wanted = kid["kernel_inception_distance_mean"]
    assert found["kid_x1000"] / 1000 == pytest.approx(wanted, rel=1e-4)
    for save_ram in (False, True):
        prc = prc_features_to_metric(MADE, REAL, save_cpu_ram=save_ram, verbose=False)
        assert 0 < prc["precision"] < 1
        assert 0 < prc["recall"] < 1
        assert found["precision"] == pytest.approx(prc["precision"], abs=1e-4)
        assert found["recall"] == pytest.approx(prc["recall"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_torchmetrics_says_the_same() -> None:
    # Imported here: it imports much, for seconds.
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance
    from torchmetrics.multimodal.clip_score import CLIPScore

    found = by_key(distribution(Compared(MADE, REAL)))
    fid = FrechetInceptionDistance(feature=Given())
    kid = KernelInceptionDistance(feature=Given(), subsets=1, subset_size=COUNT)
    for metric in (fid, kid):
        metric.update(MADE, real=False)
        metric.update(REAL, real=True)
    assert found["fid"] == pytest.approx(float(fid.compute()), rel=1e-4)
    assert found["kid_x1000"] / 1000 == pytest.approx(float(kid.compute()[0]), rel=1e-4)
    near = MADE + 0.5 * REAL
    score = CLIPScore(model_name_or_path=lambda: (GivenCLIP(), GivenCLIP.process))
    score.update(list(near.reshape(-1, 1, 4, 4)), [str(i) for i in range(COUNT)])
    assert float(score.compute()) > 1
    figures = results(
        [str(i) for i in range(COUNT)], Compared(MADE, REAL), Read(near, REAL, REAL), None, 0
    ).figures
    assert by_key(figures)["clip_score"] == pytest.approx(float(score.compute()), abs=1e-4)


def test_the_same_pictures() -> None:
    found = by_key(distribution(Compared(REAL, REAL)))
    assert found["fid"] == pytest.approx(0, abs=1e-6)
    assert found["precision"] == found["recall"] == 1
    assert found["kid_x1000"] < 0, "unbiased: below zero where a set is compared with itself"


def test_balls_on_a_line() -> None:
    """Radii to the second neighbour of 0, 1, 3, 7 are 3, 2, 3, 6; then what lies inside."""
    centres = torch.tensor([[0.0], [1.0], [3.0], [7.0]]).double()
    assert radii(centres, 2).tolist() == pytest.approx([3, 2, 3, 6])
    points = torch.tensor([[-3.0], [-3.1], [13.0], [13.1]]).double()
    found = inside(points, centres, torch.tensor([3.0, 2.0, 3.0, 6.0]).double())
    assert found.tolist() == [True, False, True, False]
    with pytest.raises(ValueError, match="more than 3"):
        precision_recall(MADE[:3], REAL)


def test_recall_sees_what_is_missing() -> None:
    """Half of the kinds, each well made: precise, and half is not recalled."""
    real = torch.cat([MADE * 0.01, MADE * 0.01 + 50])
    found = precision_recall(real[:COUNT] + 1e-4, real)
    assert found.precision.double().mean() > 0.95
    assert found.recall[:COUNT].double().mean() > 0.95
    assert not found.recall[COUNT:].any()


def test_r_precision() -> None:
    texts = torch.eye(6)
    captions = ["a", "b", "c", "d", "e", "a"]
    rivals = candidates(captions, seed=3)
    assert rivals.shape == (6, 5)
    for place, row in enumerate(rivals.tolist()):
        assert row[0] == place
        assert len({captions[other] for other in row}) == 5
    images = texts.clone()
    images[2] = texts[3]
    assert finds_caption(images, texts, rivals).tolist() == [True, True, False, True, True, True]
    assert candidates([str(i) for i in range(300)], seed=0).shape == (300, 100)
    assert (
        candidates([str(i) for i in range(300)], 0)[:5]
        == candidates([str(i) for i in range(300)], 0)[:5]
    ).all()
    with pytest.raises(DataError, match="all 3 captions are the same"):
        candidates(["a"] * 3, seed=0)


def test_panel() -> None:
    """At 60 degrees from the caption, at 30 from its own picture, and at right angles to others."""
    angle = torch.tensor([0.0, math.pi / 3, math.pi / 6])

    def at(place: int) -> torch.Tensor:
        rows = torch.zeros(4, 8)
        for i in range(4):
            rows[i, 2 * i], rows[i, 2 * i + 1] = angle[place].cos(), angle[place].sin()
        return 3 * rows

    found = {f.key: f for f in similarity_panel(Predicted(text=at(0), image=at(2), prior=at(1)))}
    assert found["prior_text"].made.value == pytest.approx(0.5)
    assert found["prior_text"].real is not None
    assert found["prior_text"].real.value == pytest.approx(math.sqrt(3) / 2)
    assert found["prior_text_delta"].made.value == pytest.approx(0.5 - math.sqrt(3) / 2)
    assert found["prior_image"].made.value == pytest.approx(math.sqrt(3) / 2)
    for key in ("prior_unrelated_image", "prior_unrelated_text"):
        assert found[key].made.value == pytest.approx(0)


def test_results_say_what_to_mind() -> None:
    captions = [str(i) for i in range(COUNT)]
    read = Read(MADE, REAL, REAL)
    found = results(captions, Compared(MADE, REAL), read, None, seed=0)
    assert {figure.key for figure in found.figures} >= {"clip_score", "r_precision", "recall"}
    assert "biased upwards" in found.remarks[0]
    few = results(
        captions[:8],
        Compared(MADE[:8], REAL[:8]),
        Read(*(each[:8] for each in (read.made, read.real, read.text))),
        None,
        seed=0,
    )
    assert "covariance is singular" in few.remarks[0]
    with pytest.raises(DataError, match="got 3 pictures, expected 4 or more"):
        results(captions[:3], Compared(MADE[:3], REAL[:3]), read, None, seed=0)


def test_pairs(tiny_world: Path) -> None:
    every = choose_pairs(tiny_world / "64", None, seed=1)
    assert len({pair.path for pair in every}) == 12
    assert choose_pairs(tiny_world / "64", 5, seed=1) == every[:5]
    assert choose_pairs(tiny_world / "64", None, seed=2) != every
    with pytest.raises(DataError, match="12 captioned pictures, expected 13"):
        choose_pairs(tiny_world / "64", 13, seed=0)
    with pytest.raises(InputError, match="--num is 1"):
        choose_pairs(tiny_world / "64", 1, seed=0)
    images = [read_square(pair, 32) for pair in every[:2]]
    assert stack(images, 48).shape == (2, 3, 48, 48)
    (tiny_world / "64").joinpath("broken.png").write_bytes(b"no picture")
    broken = type(every[0])(tiny_world / "64" / "broken.png", "a")
    with pytest.raises(DataError, match=r"broken\.png"):
        read_square(broken, 32)
    broken.path.unlink()


def test_pairs_in_tars(tmp_path: Path, tiny_world: Path) -> None:
    """The same pictures, packed: bytes, captions and pixels are those of the files."""
    lone = tmp_path / "lone"
    lone.mkdir()
    for start in (0, 2):
        with tarfile.open(tmp_path / f"{start:05d}.tar", "w") as tar:
            for i in (start, start + 1):
                content = (tiny_world / "64" / f"{i}.png").read_bytes()
                members = {"png": content, "txt": f"scene {i}".encode(), "json": b'{"caption": 5}'}
                for suffix, each in members.items():
                    about = tarfile.TarInfo(f"{i:09d}.{suffix}")
                    about.size = len(each)
                    tar.addfile(about, io.BytesIO(each))
    pairs = choose_pairs(tmp_path, None, seed=0)
    assert sorted(pair.caption for pair in pairs) == [f"scene {i}" for i in range(4)]
    for pair in pairs:
        file = tiny_world / "64" / f"{pair.caption.split()[1]}.png"
        assert pair.content() == file.read_bytes()
        assert read_square(pair, 64).tobytes() == Image.open(file).convert("RGB").tobytes()
    (lone / "0.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DataError, match="give uncompressed, whole tars"):
        choose_pairs(lone, None, seed=0)
    tarfile.open(lone / "0.tar", "w").close()
    with pytest.raises(DataError, match="1 tars and no captioned picture"):
        choose_pairs(lone, None, seed=0)


class Means:
    """A network of two features."""

    name, key, size_px = "means", "0", 8

    def see(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().flatten(1)[:, :2]


def test_cache(tmp_path: Path) -> None:
    keys = {
        cache_key(["a", "b"], 64, Means()),
        cache_key(["b", "a"], 64, Means()),
        cache_key(["a", "b"], 32, Means()),
    }
    assert len(keys) == 3
    key = keys.pop()
    assert load_features(tmp_path, key, 4) is None
    save_features(tmp_path, key, MADE[:4], Means())
    kept = load_features(tmp_path, key, 4)
    assert kept is not None
    assert torch.equal(kept, MADE[:4])
    assert load_features(tmp_path, key, 5) is None
    path = tmp_path / f"{key}.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    assert load_features(tmp_path, key, 4) is None
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose another --cache"):
        save_features(tmp_path / "file", key, MADE, Means())


def test_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    with pytest.raises(InputError, match="--feature-weights FILE"):
        FidelityExtractor("inception", None, cpu)
    with pytest.raises(CheckpointError, match="cannot read --feature-weights"):
        FidelityExtractor("inception", tmp_path / "none.pth", cpu)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="is no state dict"):
        FidelityExtractor("inception", tmp_path / "text.pth", cpu)
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="holds no weights of inception-v3-compat"):
        FidelityExtractor("inception", tmp_path / "other.safetensors", cpu)
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity.registry", None)
    with pytest.raises(BackendError, match=r"pip install 'unclip\[eval\]'"):
        FidelityExtractor("inception", tmp_path / "other.safetensors", cpu)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(PAYLOADS["REDUCE"](str(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match="is no state dict"):
        FidelityExtractor("inception", tmp_path / "bad.pth", torch.device("cpu"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_inception_of_a_file(tmp_path: Path) -> None:
    """Random weights: the network is torch-fidelity's, and a batch's size does not matter."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Net

    with pytest.MonkeyPatch.context() as patch:
        name = "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url"
        patch.setattr(name, lambda *_, **__: {})
        patch.setattr(Net, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        net = Net("inception-v3-compat", ["2048"])
    torch.save(net.state_dict(), tmp_path / "inception.pth")
    found = FidelityExtractor("inception", tmp_path / "inception.pth", torch.device("cpu"))
    pixels = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8)
    assert torch.equal(found.see(pixels), net(pixels)[0])
