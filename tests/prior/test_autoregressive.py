"""The autoregressive prior: what a code sees, the kept keys and values, sampling, and training."""

import json
from pathlib import Path

import pytest
import torch

from prior.autoregressive import AutoregressivePrior, from_stage, to_stage
from prior.autoregressive_config import AutoregressiveConfig
from prior.autoregressive_loss import autoregressive_loss
from prior.autoregressive_sample import pick, sample_codes
from prior.train_autoregressive import main
from unclip.checkpoint import load_stage, save_stage
from unclip.clip.features import TextFeatures
from unclip.diffusion.noise import SeededNoise
from unclip.errors import ConfigError
from unclip.nn.incremental import Incremental
from unclip.training.draws import Draws

CONFIG = AutoregressiveConfig(
    embed_dim=8,
    text_width=12,
    context_length=5,
    num_codes=6,
    num_buckets=16,
    num_layers=2,
    num_heads=2,
    head_dim=8,
    text_layers=1,
    text_heads=1,
)
TINY = Path(__file__).parents[2] / "configs" / "tiny" / "prior_autoregressive.yaml"


@pytest.fixture(scope="module")
def prior() -> AutoregressivePrior:
    torch.manual_seed(0)
    model = AutoregressivePrior(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.2)
    model.code_std.uniform_(0.5, 2)
    model.dot_edges.copy_(torch.linspace(-3, 3, CONFIG.num_buckets - 1))
    return model.eval()


def features(rows: int) -> TextFeatures:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(5)[None] < torch.tensor([3, 5, 4, 2])[:rows, None]
    return TextFeatures(
        torch.randn(rows, 8, generator=generator),
        torch.randn(rows, 5, 12, generator=generator),
        mask,
    )


def logits_of(prior: AutoregressivePrior, text: TextFeatures, dot, codes) -> torch.Tensor:
    with torch.no_grad():
        return prior(text.embed, text.hidden, text.mask, dot, codes)


def test_a_code_sees_the_codes_before_it_and_no_padding(prior: AutoregressivePrior) -> None:
    text, dot = features(2), torch.tensor([3, 9])
    codes = torch.randint(16, (2, 6), generator=torch.Generator().manual_seed(3))
    before = logits_of(prior, text, dot, codes)
    assert before.shape == (2, 6, 16)
    changed = codes.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 16
    after = logits_of(prior, text, dot, changed)
    assert torch.equal(after[:, :3], before[:, :3])
    assert (after[:, 3:] - before[:, 3:]).abs().amax(-1).min() > 1e-5
    # Beyond its three tokens the first text has none; the dot product is seen by all codes.
    hidden = text.hidden.clone()
    hidden[0, 3:] += 1
    padded = TextFeatures(text.embed, hidden, text.mask)
    torch.testing.assert_close(logits_of(prior, padded, dot, codes)[0], before[0])
    assert (logits_of(prior, text, dot + 1, codes) - before).abs().amax(-1).min() > 1e-5


def test_kept_keys_and_values_answer_as_one_pass(prior: AutoregressivePrior) -> None:
    text, dot = features(3), torch.tensor([0, 7, 15])
    codes = torch.randint(16, (3, 6), generator=torch.Generator().manual_seed(4))
    whole = logits_of(prior, text, dot, codes)
    with torch.no_grad():
        tokens, mask = prior.prefix(text.embed, text.hidden, text.mask, dot)
        cache = Incremental(prior.transformer_blocks, 3, 7 + 5, tokens)
        answers = [prior.answer(cache.run(tokens, mask)[:, -1:])]
        for number in range(5):
            new = prior.code_tokens(codes[:, number : number + 1], first=number)
            answers.append(prior.answer(cache.run(new)))
    torch.testing.assert_close(torch.cat(answers, 1), whole, atol=1e-5, rtol=1e-5)


def test_picking_follows_the_shares() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.0, 0.7]]).log().expand(1000, 4)
    picked = pick(logits, (torch.arange(1000) + 0.5) / 1000)
    assert torch.bincount(picked, minlength=4).tolist() == [100, 200, 0, 700]


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_samples_are_the_ones_that_teacher_forcing_would_pick(
    prior: AutoregressivePrior, scale: float
) -> None:
    text, null, noise = features(2), features(1), SeededNoise([5, 6], "prior")
    embed = sample_codes(
        prior, text, null, noise=noise, guidance_scale=scale, candidates=1, dot_percentile=0.5
    )
    codes = prior.encode(embed)
    normal = SeededNoise([5, 6], "prior").fork("0")((7,)).double()
    uniform = 0.5 * (1 + torch.erf(normal / 2**0.5))
    dot = ((0.5 + 0.5 * uniform[:, 0]) * 16).long()
    assert (dot >= 8).all()  # the upper half
    logits = logits_of(prior, text, dot, codes).double()
    if scale != 1:
        free = logits_of(prior, null.for_rows(2), dot, codes).double()
        logits = free + scale * (logits - free)
    for number in range(6):
        assert torch.equal(pick(logits[:, number], uniform[:, 1 + number]), codes[:, number])


def test_an_embedding_does_not_depend_on_its_neighbours(prior: AutoregressivePrior) -> None:
    text, null = features(3), features(1)
    settings = {"guidance_scale": 2.0, "candidates": 2}
    together = sample_codes(prior, text, null, noise=SeededNoise([1, 2, 3], "p"), **settings)
    for row in range(3):
        noise = SeededNoise([1 + row], "p")
        alone = sample_codes(prior, text[row : row + 1], null, noise=noise, **settings)
        torch.testing.assert_close(alone[0], together[row])


def test_the_loss_is_that_of_the_logits(prior: AutoregressivePrior) -> None:
    text, null = features(4), features(1)
    embed = torch.randn(4, 8, generator=torch.Generator().manual_seed(6))
    draws = Draws(0, "prior", range(4))
    values = autoregressive_loss(prior, prior, embed, text, null, draws, text_dropout=0.0)
    codes = prior.encode(embed)
    dot = prior.dot_buckets(embed, text.embed)
    shares = logits_of(prior, text, dot, codes).log_softmax(-1)
    expected = -shares.gather(2, codes[..., None]).mean()
    torch.testing.assert_close(values["loss"].detach(), expected)
    dropped = autoregressive_loss(
        prior, prior, embed, text, null, Draws(0, "prior", range(4)), text_dropout=1.0
    )
    shares = logits_of(prior, null.for_rows(4), dot, codes).log_softmax(-1)
    expected = -shares.gather(2, codes[..., None]).mean()
    torch.testing.assert_close(dropped["loss"].detach(), expected)


def test_a_stage_folder_comes_back(prior: AutoregressivePrior, tmp_path: Path) -> None:
    save_stage(tmp_path / "prior", to_stage(CONFIG, prior.state_dict(), {"clip": "none"}))
    again = from_stage(load_stage(tmp_path / "prior", "prior"))
    assert again.config == CONFIG
    embed = torch.randn(3, 8)
    assert torch.equal(again.encode(embed), prior.encode(embed))
    with pytest.raises(ConfigError, match="num_codes is 9, but an embedding has 8"):
        AutoregressiveConfig(embed_dim=8, num_codes=9)


def test_it_learns_and_resumes(
    tmp_path: Path, tiny_world: Path, tiny_chain, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(out: str, *overrides: str) -> int:
        settings = [f"images={tiny_world / '64'}", f"clip={tiny_chain.final('clip')}", *overrides]
        sets = [part for setting in settings for part in ("--set", setting)]
        return main(["--config", str(TINY), "--out", str(tmp_path / out), *sets])

    assert run("whole", "train.steps=30", "train.log_every=1", "train.lr=1e-2") == 0
    lines = (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[-1] < 0.6 * losses[0]
    assert run("parts", "train.steps=15", "train.lr=1e-2") == 0
    assert run("parts", "train.steps=30", "train.lr=1e-2") == 0
    whole, parts = (
        from_stage(load_stage(tmp_path / name / "final", "prior")) for name in ("whole", "parts")
    )
    for (name, one), two in zip(
        whole.state_dict().items(), parts.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
    assert run("other", "model.num_codes=12") == 2
    assert "span 11 dimensions of CLIP's space" in capfd.readouterr().err
