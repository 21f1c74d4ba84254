"""The prior against diffusers' PriorTransformer: random values in every parameter."""

import pytest
import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer

from prior.config import PriorConfig
from prior.model import Prior
from prior.steps import PriorSteps
from unclip.clip.features import TextFeatures


def reference(heads: int, head_dim: int, layers: int, dim: int, tokens: int) -> PriorTransformer:
    model = PriorTransformer(
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        num_layers=layers,
        embedding_dim=dim,
        num_embeddings=tokens,
        additional_embeddings=4,
    )
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.08)
    return model.eval()


def ours(
    theirs: PriorTransformer, heads: int, head_dim: int, layers: int, dim: int, tokens: int
) -> Prior:
    prior = Prior(
        PriorConfig(
            embed_dim=dim,
            text_width=dim,
            context_length=tokens,
            num_layers=layers,
            num_heads=heads,
            head_dim=head_dim,
        )
    )
    prior.load_state_dict(theirs.state_dict())
    return prior.eval()


def inputs(batch: int, dim: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor, TextFeatures]:
    generator = torch.Generator().manual_seed(3)
    x_t = torch.randn(batch, dim, generator=generator)
    t = torch.randint(1000, (batch,), generator=generator)
    lengths = torch.randint(2, tokens + 1, (batch,), generator=generator)
    mask = torch.arange(tokens)[None] < lengths[:, None]
    text = TextFeatures(
        torch.randn(batch, dim, generator=generator),
        torch.randn(batch, tokens, dim, generator=generator),
        mask,
    )
    return x_t, t, text


SHAPES = [(2, 8, 3, 24, 7), (4, 12, 2, 40, 16), (1, 16, 1, 32, 77)]


@pytest.mark.parametrize(("heads", "head_dim", "layers", "dim", "tokens"), SHAPES)
@pytest.mark.parametrize("batch", [1, 5])
def test_forward_and_cached_step_equal_diffusers(
    heads: int, head_dim: int, layers: int, dim: int, tokens: int, batch: int
) -> None:
    theirs = reference(heads, head_dim, layers, dim, tokens)
    prior = ours(theirs, heads, head_dim, layers, dim, tokens)
    x_t, t, text = inputs(batch, dim, tokens)
    with torch.no_grad():
        expected = theirs(
            x_t,
            timestep=t,
            proj_embedding=text.embed,
            encoder_hidden_states=text.hidden,
            attention_mask=text.mask,
        ).predicted_image_embedding
        whole = prior(x_t, t, text.embed, text.hidden, text.mask)
        times = sorted(set(t.tolist()))
        steps = PriorSteps(prior, [(text, 1)], times)
        step = torch.stack([steps(x_t, time)[row] for row, time in enumerate(t.tolist())])
        unwhitened = theirs.post_process_latents(x_t)
    assert expected.abs().mean() > 0.05  # a comparison of zeros would prove nothing
    assert (whole - expected).abs().max() < 1e-5
    assert (step - expected).abs().max() < 1e-5
    assert (prior.unwhiten(x_t) - unwhitened).abs().max() < 1e-6


def test_full_size_has_the_published_parameters() -> None:
    with torch.device("meta"):
        prior = Prior(PriorConfig())
        theirs = PriorTransformer()
    # diffusers counts clip_mean and clip_std as parameters.
    tensors = prior.state_dict()
    assert len(tensors) == 338
    assert sum(tensor.numel() for tensor in tensors.values()) == 1_022_030_080
    assert {k: v.shape for k, v in tensors.items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


def test_whitening_is_undone() -> None:
    prior = Prior(PriorConfig(embed_dim=8, text_width=8, num_layers=1, num_heads=1, head_dim=8))
    prior.clip_mean.normal_()
    prior.clip_std.uniform_(0.5, 2)
    x = torch.randn(3, 8)
    assert torch.allclose(prior.unwhiten(prior.whiten(x)), x, atol=1e-6)
