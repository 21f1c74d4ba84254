import torch

from unclip.clip.features import TextFeatures


def features(rows: int) -> TextFeatures:
    mask = torch.arange(4) < torch.arange(1, rows + 1)[:, None]
    return TextFeatures(torch.randn(rows, 3), torch.randn(rows, 4, 5), mask)


def test_selecting_and_joining_gives_the_same_rows():
    text = features(3)
    again = TextFeatures.cat([text[:1], text[[1]], text[torch.tensor([False, False, True])]])
    assert len(again) == 3
    assert torch.equal(again.embed, text.embed)
    assert torch.equal(again.hidden, text.hidden)
    assert torch.equal(again.mask, text.mask)


def test_repeat_interleave_keeps_copies_side_by_side():
    text = features(2)
    twice = text.repeat_interleave(2)
    assert torch.equal(twice.embed, text.embed[[0, 0, 1, 1]])
    assert torch.equal(twice.hidden, text.hidden[[0, 0, 1, 1]])
    assert torch.equal(twice.mask, text.mask[[0, 0, 1, 1]])


def test_a_dtype_leaves_the_mask_alone():
    text = features(2).to("cpu", torch.bfloat16)
    assert text.embed.dtype == text.hidden.dtype == torch.bfloat16
    assert text.mask.dtype == torch.bool
