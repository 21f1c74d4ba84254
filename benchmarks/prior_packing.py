"""What several noised draws behind one text save the prior: operations counted, and time measured.

"alone" runs the text once for each draw, "packed" once for all of a caption's: the same answers
(tests/prior/test_packing.py). Both are a forward and a backward pass of as many draws of as many
captions; the optimiser's step and CLIP's text tower, which is run once a caption, too, are left
out. Operations are those of matrix products, by PyTorch's counter. On a CPU the time is that of
the process in one thread; the pairs are timed in turn, and the median of the rounds is told.

    python benchmarks/prior_packing.py [--device cuda] [--rounds 5] [--shapes tiny pocket small]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prior.config import PriorConfig, PriorRun
from prior.model import Prior
from unclip.config import load_config

CONFIGS = Path(__file__).parents[1] / "configs"
DRAWS = (1, 2, 4, 8)
COUNTED_ONLY = "karlo"
CAPTIONS = {"tiny": 64, "pocket": 16, "small": 4}
"""Captions of a timed batch on a CPU; a GPU gets 64 times as many."""
GPU_FACTOR = 64


def shapes() -> dict[str, PriorConfig]:
    """The networks; `small` has 131 million parameters, `karlo` 1.02 billion."""
    own = {
        name: load_config(PriorRun, CONFIGS / name / "prior.yaml").model
        for name in ("tiny", "pocket")
    }
    small = PriorConfig(num_layers=10, num_heads=16, head_dim=64)
    return own | {"small": small, COUNTED_ONLY: PriorConfig()}


def inputs(config: PriorConfig, captions: int, draws: int, device: str) -> tuple[Tensor, ...]:
    """Noised embeddings, times and texts."""
    tokens = config.context_length
    mask = torch.arange(tokens, device=device).expand(captions, tokens) < tokens // 2
    return (
        torch.randn(captions * draws, config.embed_dim, device=device),
        torch.zeros(captions * draws, dtype=torch.long, device=device),
        torch.randn(captions, config.embed_dim, device=device),
        torch.randn(captions, tokens, config.text_width, device=device),
        mask,
    )


def alone(arguments: tuple[Tensor, ...], draws: int) -> tuple[Tensor, ...]:
    """The same draws, each with a text of its own."""
    x_t, t, *text = arguments
    return (x_t, t, *(part.repeat_interleave(draws, 0) for part in text))


def operations(config: PriorConfig, draws: int, *, packed: bool) -> float:
    """Of a training pass, for each draw."""
    with torch.device("meta"):
        prior = Prior(config)
    arguments = inputs(config, 1, draws, "meta")
    counter = FlopCounterMode(display=False)
    # The counter knows the fused kernels of no device but CUDA.
    with counter, sdpa_kernel(SDPBackend.MATH):
        prior(*(arguments if packed else alone(arguments, draws))).sum().backward()
    return counter.get_total_flops() / draws


def timer(prior: Prior, arguments: tuple[Tensor, ...], device: str) -> Callable[[], float]:
    """Returns what measures a forward and a backward pass, in seconds."""
    cuda = device.startswith("cuda")
    precision = torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext()
    clock = time.perf_counter if cuda else time.process_time

    def measure() -> float:
        if cuda:
            torch.cuda.synchronize()
        started = clock()
        with precision:
            answer = prior(*arguments)
        answer.float().square().mean().backward()
        prior.zero_grad(set_to_none=True)
        if cuda:
            torch.cuda.synchronize()
        return clock() - started

    return measure


def draws_per_second(
    config: PriorConfig, captions: int, draws: int, device: str, rounds: int
) -> tuple[float, float]:
    """Of draws alone and packed."""
    torch.manual_seed(0)
    prior = Prior(config).to(device)
    arguments = inputs(config, captions, draws, device)
    pair = (timer(prior, alone(arguments, draws), device), timer(prior, arguments, device))
    for measure in pair:
        measure()  # warm up
    timed = [[measure() for measure in pair] for _ in range(rounds)]
    first, second = (
        captions * draws / statistics.median(each) for each in zip(*timed, strict=True)
    )
    return first, second


def main() -> None:
    """Prints a row for each shape and number of draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", nargs="+", default=list(CAPTIONS), choices=list(CAPTIONS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| shape | draws | GFLOP a draw: alone | packed | share | draws/s: alone | packed | gain |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, config in shapes().items():
        if name not in (*options.shapes, COUNTED_ONLY):
            continue
        for draws in DRAWS:
            before, after = (operations(config, draws, packed=p) / 1e9 for p in (False, True))
            row = f"| {name} | {draws} | {before:.4g} | {after:.4g} | {after / before:.3f} |"
            if name == COUNTED_ONLY:
                print(f"{row} | | |", flush=True)
                continue
            captions = CAPTIONS[name] * (1 if options.device == "cpu" else GPU_FACTOR)
            rates = draws_per_second(config, captions, draws, options.device, options.rounds)
            slow, fast = rates
            print(f"{row} {slow:.4g} | {fast:.4g} | {fast / slow:.2f} |", flush=True)


if __name__ == "__main__":
    main()
