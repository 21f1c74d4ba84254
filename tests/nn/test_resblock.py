import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D

from unclip.nn.resblock import ResBlock


@pytest.mark.parametrize("scale_shift", [False, True])
@pytest.mark.parametrize("resample", [None, "down", "up"])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (24, 16)])
def test_resblock_is_diffusers(randomise, scale_shift, resample, inputs: int, outputs: int) -> None:
    reference = ResnetBlock2D(
        in_channels=inputs,
        out_channels=outputs,
        temb_channels=20,
        groups=8,
        eps=1e-5,
        time_embedding_norm="scale_shift" if scale_shift else "default",
        up=resample == "up",
        down=resample == "down",
    ).eval()
    randomise(reference)
    block = ResBlock(inputs, outputs, 20, scale_shift=scale_shift, groups=8, resample=resample)
    block.eval().load_state_dict(reference.state_dict(), strict=True)

    x, temb = torch.randn(2, inputs, 6, 10), torch.randn(2, 20)
    expected = reference(x, temb)
    assert expected.std() > 0.5
    torch.testing.assert_close(block(x, block.modulation(temb)), expected, rtol=0, atol=1e-5)


def test_a_block_begins_as_its_shortcut() -> None:
    x, temb = torch.randn(2, 16, 6, 6), torch.randn(2, 20)
    block = ResBlock(16, 16, 20, scale_shift=True, groups=8)
    assert torch.equal(block(x, block.modulation(temb)), x)

    block = ResBlock(16, 16, 20, scale_shift=False, groups=8, resample="down")
    halved = torch.nn.functional.avg_pool2d(x, 2)
    assert torch.equal(block(x, block.modulation(temb)), halved)

    block = ResBlock(16, 8, 20, scale_shift=True, groups=8)
    assert block.conv_shortcut is not None
    assert torch.equal(block(x, block.modulation(temb)), block.conv_shortcut(x))


def test_dropout_only_in_training_and_only_when_configured(randomise) -> None:
    x, temb = torch.randn(2, 16, 6, 6), torch.randn(2, 20)
    for share in (0.0, 0.5):
        block = ResBlock(16, 16, 20, scale_shift=True, groups=8, dropout=share)
        randomise(block)
        modulation = block.modulation(temb)
        evaluated = block.eval()(x, modulation)
        trained = block.train()(x, modulation)
        assert torch.equal(evaluated, trained) == (share == 0.0)
