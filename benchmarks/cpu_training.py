"""Why training on a CPU runs attention in float32 and convolutions contiguous, and why bf16 is for
CPUs that have instructions for it: one thread, process CPU time.

Each pair of variants is timed in turn, several rounds; the table gives the median ratio of the
rounds.

    python benchmarks/cpu_training.py [--rounds 7]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, group_norm, scaled_dot_product_attention

Variant = Callable[[], Tensor]


def attention(dtype: torch.dtype) -> Variant:
    """The pocket decoder's attention: 64 positions see themselves and 28 tokens, 7 heads of 16."""
    shapes = ((64, 7, 64, 16), (64, 7, 92, 16), (64, 7, 92, 16))
    q, k, v = (torch.randn(s, dtype=torch.bfloat16, requires_grad=True) for s in shapes)
    mask = torch.ones(64, 1, 1, 92, dtype=torch.bool)
    mask[:, :, :, 20:28] = False

    def run() -> Tensor:
        out = scaled_dot_product_attention(q.to(dtype), k.to(dtype), v.to(dtype), attn_mask=mask)
        return out.to(torch.bfloat16)

    return run


def norm(layout: torch.memory_format) -> Variant:
    """A group norm of the pocket decoder's first level."""
    x = torch.randn(64, 96, 16, 16, dtype=torch.bfloat16).to(memory_format=layout).requires_grad_()
    return lambda: group_norm(x, 16)


def convolution(layout: torch.memory_format, dtype: torch.dtype = torch.bfloat16) -> Variant:
    """A convolution of the pocket decoder's first level."""
    x = torch.randn(64, 96, 16, 16, dtype=dtype).to(memory_format=layout).requires_grad_()
    w = torch.randn(96, 96, 3, 3, dtype=dtype).to(memory_format=layout).requires_grad_()
    return lambda: conv2d(x, w, padding=1)


def seconds(variant: Variant) -> float:
    """CPU time of a forward and a backward pass."""
    started = time.process_time()
    out = variant()
    out.backward(torch.ones_like(out))
    return time.process_time() - started


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    last, contiguous = torch.channels_last, torch.contiguous_format
    pairs = {
        "attention: bfloat16 / float32": (attention(torch.bfloat16), attention(torch.float32)),
        "group norm: channels last / contiguous": (norm(last), norm(contiguous)),
        "convolution: channels last / contiguous": (convolution(last), convolution(contiguous)),
        "convolution: bfloat16 / float32": (
            convolution(contiguous),
            convolution(contiguous, torch.float32),
        ),
    }
    for name, (first, second) in pairs.items():
        for variant in (first, second):
            seconds(variant)  # warm up
        timed = [(seconds(first), seconds(second)) for _ in range(rounds)]
        ratio = statistics.median(a / b for a, b in timed)
        a, b = (statistics.median(column) for column in zip(*timed, strict=True))
        print(f"{name:42} {a * 1e3:7.1f} ms / {b * 1e3:6.1f} ms = {ratio:.2f}")


if __name__ == "__main__":
    main()
