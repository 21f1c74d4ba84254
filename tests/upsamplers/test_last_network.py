"""A second network makes the last step, as Karlo's upsampler does."""

import pytest
import torch

from unclip.diffusion.noise import SeededNoise
from unclip.errors import ConfigError
from unclip.nn.unet import UNetConfig
from unclip.training.settings import TrainConfig
from upsamplers.config import UpsamplerConfig, UpsamplerRun
from upsamplers.model import Upsampler
from upsamplers.sample import upsample


def config(**changes: object) -> UpsamplerConfig:
    unet = UNetConfig(
        in_channels=6,
        channels=(8, 8),
        depth=1,
        attention=(False, False),
        groups=4,
        middle_attention=True,
        head_dim=4,
        scale_shift=False,
    )
    values: dict[str, object] = {"low_size": 4, "image_size": 8, "unet": unet, "last_network": True}
    return UpsamplerConfig(**(values | changes))  # pyright: ignore[reportArgumentType]  # any field


@pytest.mark.parametrize("steps", [1, 3])
def test_who_makes_which_step(steps: int) -> None:
    upsampler = Upsampler(config()).eval()
    made: list[str] = []
    for name, network in (("unet", upsampler.unet), ("last", upsampler.last)):
        network.register_forward_hook(lambda *_, name=name: made.append(name))
    small = torch.zeros(2, 3, 4, 4)
    large = upsample(upsampler, small, noise=SeededNoise([1, 2], "x"), num_steps=steps)
    assert made == ["unet"] * (steps - 1) + ["last"]
    assert large.shape == (2, 3, 8, 8)


def test_one_network_makes_all_steps_by_default() -> None:
    upsampler = Upsampler(config(last_network=False))
    assert upsampler.network(last=True) is upsampler.unet
    assert not any(name.startswith("last.") for name in upsampler.state_dict())


def test_it_has_attention_in_the_middle() -> None:
    names = Upsampler(config()).state_dict()
    assert "last.mid_block.attentions.0.to_q.weight" in names
    assert not any("blocks.0.attentions" in name for name in names if "mid_block" not in name)
    with pytest.raises(ConfigError, match="no multiple of head_dim 3"):
        UNetConfig(channels=(8,), attention=(False,), groups=4, middle_attention=True, head_dim=3)


def test_what_it_does_not_go_with() -> None:
    with pytest.raises(ConfigError, match="told no augmentation"):
        config(tells_augmentation=True)
    with pytest.raises(ConfigError, match="last_network is not trained here"):
        UpsamplerRun(
            images="x",
            crop_px=8,
            degradation="blur",
            model=config(),
            train=TrainConfig(steps=1, batch_size=1, lr=0.1),
        )
