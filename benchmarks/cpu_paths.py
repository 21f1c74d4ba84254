"""What each technique of a CPU's fast path gains, against diffusers' networks, side by side.

Prior, decoder and upsampler of a small unCLIP (`cpu_shapes.py`), a prompt of 14 tokens, guidance,
25, 25 and 7 steps. Every variant runs once a round, in turn, on one thread; process time is
measured, and ratios are medians of the rounds' own. The first variant runs twice a round: how far
that ratio is from 1 is how far any of them may be trusted. CLIP, schedulers and resizing are left
out.

    python -m benchmarks.cpu_paths [--rounds 7] [--stages prior decoder upsampler] [--json FILE]
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import unclip.nn.packed
import unclip.nn.winograd
from benchmarks.cpu_shapes import (
    DECODER,
    UPSAMPLER,
    our_prior,
    our_unet,
    their_decoder,
    their_prior,
    their_upsampler,
)
from prior.steps import prepare_steps
from unclip.clip.features import TextFeatures
from unclip.diffusion.schedules import respace
from unclip.nn.fast import fast
from unclip.nn.memory import kept_memory
from unclip.nn.packed_blocks import PackedKernels
from unclip.nn.unet import UNet

STEPS = {"prior": 25, "decoder": 25, "upsampler": 7}
TEXT_TOKENS, VALID, VALID_OF_NOTHING = 77, 16, 2
DTYPES = (torch.float32, torch.bfloat16)
THEIRS = "diffusers float32"
ADDED = ("+ packed weights", "+ kept memory", "+ fewer products")

Work = Callable[[], Tensor]
"""Makes a part of a stage's steps, and returns its last answer."""
Variants = dict[str, tuple[Work, float]]
"""By name: the work, and how many of it make the stage."""


def name_of(what: str, dtype: torch.dtype) -> str:
    return f"{what} {str(dtype).removeprefix('torch.')}"


def cast_to(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Casts as PyTorch does: diffusers' own method warns of nothing."""
    return nn.Module.to(network, dtype)


def texts() -> TextFeatures:
    """Features of a prompt and of the empty one."""
    mask = torch.arange(TEXT_TOKENS) < torch.tensor([[VALID], [VALID_OF_NOTHING]])
    return TextFeatures(torch.randn(2, 768), torch.randn(2, TEXT_TOKENS, 768), mask)


def prior_variants() -> Variants:
    theirs, text, x = their_prior(), texts(), torch.randn(2, 768)
    times = respace(1000, STEPS["prior"])
    found: Variants = {}
    for dtype in DTYPES:
        peer = cast_to(their_prior(), dtype)
        own, given = our_prior(theirs).to(dtype), text.to(dtype=dtype)

        def call(peer=peer, given=given, dtype=dtype) -> Tensor:
            answer = peer(
                x.to(dtype),
                timestep=times[0],
                proj_embedding=given.embed,
                encoder_hidden_states=given.hidden,
                attention_mask=given.mask,
            )
            return answer.predicted_image_embedding

        def whole(own=own, given=given, dtype=dtype) -> Tensor:
            t = torch.full((2,), times[0])
            return own(x.to(dtype), t, given.embed, given.hidden, given.mask)

        def stepped(own=own, packed=True) -> Tensor:
            with weights(packed):
                steps = prepare_steps(own, [(text[:1], 1), (text[1:], 1)], times)
                answers = [steps(x, t) for t in times]
            return answers[0]

        found[name_of("diffusers", dtype)] = (call, STEPS["prior"])
        found[name_of("ours, whole sequence", dtype)] = (whole, STEPS["prior"])
        found[name_of("+ text and times run once", dtype)] = (partial(stepped, packed=False), 1)
        found[name_of("+ packed weights", dtype)] = (stepped, 1)
    return found


def unet_variants(stage: str) -> Variants:
    decodes = stage == "decoder"
    config = DECODER if decodes else UPSAMPLER
    make = their_decoder if decodes else their_upsampler
    rows, size = (2, 64) if decodes else (1, 256)
    theirs, x = make(), torch.randn(rows, config.in_channels, size, size)
    embed = torch.randn(rows, config.temb_dim) if decodes else None
    tokens = torch.randn(2, 4 + TEXT_TOKENS, 512)
    mask = nn.functional.pad(texts().mask, (4, 0), value=True)
    found: Variants = {}
    for dtype in DTYPES:
        more: dict[str, Any] = {}
        if embed is not None:
            more["encoder_hidden_states"], more["class_labels"] = tokens.to(dtype), embed.to(dtype)
            more["attention_mask"] = mask
        peer, unet = cast_to(make(), dtype), our_unet(config, theirs).to(dtype)
        wide = our_unet(config, theirs).to(dtype).to(memory_format=torch.channels_last)
        steps = unet.modulations_of_steps([500], None if embed is None else embed.to(dtype))[500]
        masked = unet.context(tokens.to(dtype), mask) if decodes else None
        sliced = None if masked is None else masked.sliced()

        def call(peer=peer, dtype=dtype, more=more) -> Tensor:
            return peer(x.to(dtype), 500, **more).sample

        plain = partial(unet, x.to(dtype), steps, masked)
        last = x.to(dtype).contiguous(memory_format=torch.channels_last)
        found[name_of("diffusers", dtype)] = (call, STEPS[stage])
        found[name_of("ours, conditions prepared", dtype)] = (plain, STEPS[stage])
        if decodes:
            found[name_of("+ valid keys sliced", dtype)] = (
                partial(unet, x.to(dtype), steps, sliced),
                STEPS[stage],
            )
        found[name_of("+ channels last", dtype)] = (
            partial(wide, last, steps, sliced),
            STEPS[stage],
        )
        for count, what in enumerate(("+ fused blocks", *ADDED)):
            run = warm(unet, *(count > index for index in range(len(ADDED))))
            found[name_of(what, dtype)] = (partial(run, last, steps, sliced), STEPS[stage])
    return found


@contextmanager
def weights(packed: bool, reduced: bool = True) -> Iterator[None]:
    """Leaves weights as they are where they are not to be packed, or not to be transformed."""
    with ExitStack() as stack:
        if not packed:
            target, name = unclip.nn.packed, "unpacked_because"
            stack.enter_context(patch.object(target, name, lambda dtype: "switched off"))
        if not reduced:
            stack.enter_context(patch.object(unclip.nn.winograd, "applies", lambda conv: False))
        yield


def warm(unet: UNet, packed: bool, kept: bool, reduced: bool) -> Callable[..., Tensor]:
    """The fast path with its weights packed once, as over the steps of a picture."""
    kernels = PackedKernels()

    def run(*inputs: Any) -> Tensor:
        with ExitStack() as stack:
            stack.enter_context(weights(packed, reduced))
            if kept:
                stack.enter_context(kept_memory())
            # A step follows others: the memory that they freed is there.
            return unet(*inputs, kernels=kernels)

    return run


def measure(variants: Variants, rounds: int) -> dict[str, list[float]]:
    """Seconds of process time of each variant's whole stage, a figure a round."""
    order = [*variants, f"{THEIRS} again"]
    works = variants | {order[-1]: variants[THEIRS]}
    seconds: dict[str, list[float]] = {name: [] for name in order}
    for index in range(rounds + 1):
        for name in order:
            work, times = works[name]
            started = time.process_time()
            work()
            if index:  # the first round packs weights and warms up
                seconds[name].append(times * (time.process_time() - started))
    return seconds


def errors(variants: Variants) -> dict[str, float]:
    """Largest difference from diffusers in float32, over its largest value."""
    expected = variants[THEIRS][0]().float()
    scale = float(expected.abs().max())
    return {
        name: float((work().float() - expected).abs().max()) / scale
        for name, (work, _) in variants.items()
    }


def ratio(seconds: dict[str, list[float]], slow: str, fast_one: str) -> float:
    pairs = zip(seconds[slow], seconds[fast_one], strict=True)
    return statistics.median(a / b for a, b in pairs)


def packing_cost() -> dict[str, float]:
    """Seconds and bytes of packing the decoder, once a picture."""
    unet = our_unet(DECODER, their_decoder())
    x = torch.randn(2, 3, 64, 64)
    steps = unet.modulations_of_steps([500], torch.randn(2, DECODER.temb_dim))[500]
    context = unet.context(torch.randn(2, 20, 512))
    seconds = []
    with fast(unet) as run:
        for _ in range(3):
            started = time.process_time()
            run(x, steps, context)
            seconds.append(time.process_time() - started)
    size = sum(p.numel() * p.element_size() for p in unet.parameters())
    return {"first_call_more_s": seconds[0] - min(seconds[1:]), "weights_mb": size / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stages", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    content: dict[str, Any] = {"machine": platform.machine(), "rounds": options.rounds}
    content |= {name: version(name) for name in ("torch", "diffusers")}
    with torch.inference_mode():
        for stage in options.stages:
            torch.manual_seed(0)
            variants = prior_variants() if stage == "prior" else unet_variants(stage)
            far, seconds = errors(variants), measure(variants, options.rounds)
            print(f"\n{stage}: {'':40} seconds  against float32  against bfloat16  error")
            for name, values in seconds.items():
                print(
                    f"  {name:48} {statistics.median(values):7.2f}  "
                    f"{ratio(seconds, THEIRS, name):14.2f} x"
                    f"{ratio(seconds, 'diffusers bfloat16', name):15.2f} x  "
                    f"{far.get(name, 0):.1e}",
                    flush=True,
                )
            content[stage] = {"seconds": seconds, "errors": far}
        content["packing"] = packing_cost()
        print(f"\npacking the decoder, float32: {content['packing']}")
    if set(STEPS) <= content.keys():
        print_totals(content)
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def print_totals(content: dict[str, Any]) -> None:
    """All three stages, for diffusers and for ours with everything on."""
    last = {"prior": "+ packed weights", "decoder": ADDED[-1], "upsampler": ADDED[-1]}
    totals: dict[str, list[float]] = {}
    for dtype in DTYPES:
        for label, names in (("diffusers", dict.fromkeys(STEPS, "diffusers")), ("ours", last)):
            columns = [content[stage]["seconds"][name_of(names[stage], dtype)] for stage in STEPS]
            totals[name_of(label, dtype)] = [sum(row) for row in zip(*columns, strict=True)]
    print("\nall stages")
    for name, values in totals.items():
        print(
            f"  {name:48} {statistics.median(values):7.2f}  {ratio(totals, THEIRS, name):14.2f} x"
            f"{ratio(totals, 'diffusers bfloat16', name):15.2f} x"
        )
    content["totals"] = totals


if __name__ == "__main__":
    main()
