"""DDIM inversion: the noise from which deterministic sampling gives a picture back.

Dhariwal & Nichol 2021 (arXiv 2105.05233, appendix F); unCLIP section 3 uses it for x_T.
"""

import itertools
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from unclip.diffusion.denoiser import Denoiser
from unclip.diffusion.gaussian import eps_from_x_start
from unclip.diffusion.samplers import Callback, Step, report


def invert_ddim(
    denoiser: Denoiser,
    x_start: Float[Tensor, "batch ..."],
    times: Sequence[int],
    *,
    callback: Callback | None = None,
) -> Float[Tensor, "batch ..."]:
    """Runs the DDIM steps backwards, from a clean sample to the first of `times`.

    Args:
        times: the descending times that sampling will use.
    """
    schedule = denoiser.schedule
    ascending = [-1, *reversed(times)]
    x = x_start
    for index, (t, next_t) in enumerate(itertools.pairwise(ascending)):
        # Before any noise the network has no answer: the least noisy time stands in.
        at = max(t, ascending[1])
        predicted = denoiser(x, at).x_start
        eps = eps_from_x_start(schedule, predicted, x, at)
        if t < 0:
            predicted = x
        alpha_bar = schedule.alpha_bar(next_t)
        x = alpha_bar.sqrt().to(x.dtype) * predicted + (1 - alpha_bar).sqrt().to(x.dtype) * eps
        x = report(callback, Step(index, len(times), next_t, x, predicted))
    return x
