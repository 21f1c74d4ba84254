import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from unclip.clip.config import CLIPConfig, ImageConfig, TextConfig
from unclip.clip.encoder import CLIP
from unclip.clip.tokenize import Tokenizer, open_clip_merges


@pytest.fixture(autouse=True)
def same_numbers_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def merges() -> list[tuple[str, str]]:
    return open_clip_merges()


@pytest.fixture
def tiny_config() -> CLIPConfig:
    return CLIPConfig(
        embed_dim=12,
        text=TextConfig(
            width=24, num_layers=2, num_heads=3, mlp_dim=40, context_length=10, vocab_size=700
        ),
        image=ImageConfig(
            width=16, num_layers=3, num_heads=2, mlp_dim=30, patch_size=8, image_size=24
        ),
    )


@pytest.fixture
def tiny_clip(tiny_config: CLIPConfig, merges: list[tuple[str, str]]) -> CLIP:
    text = tiny_config.text
    tokenizer = Tokenizer(merges, text.vocab_size, text.context_length)
    return CLIP(tiny_config, tokenizer).eval()


def _randomise(module: nn.Module) -> None:
    """Random values in every parameter, of a size that keeps activations near one."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            values = values / math.sqrt(parameter[0].numel())
        elif name.endswith("weight"):  # a norm's
            values = 1 + 0.3 * values
        else:
            values = 0.3 * values
        parameter.copy_(values)


@pytest.fixture
def randomise() -> Callable[[nn.Module], None]:
    return _randomise
