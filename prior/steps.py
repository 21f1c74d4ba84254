"""The prior in a sampling loop: text and times are run beforehand, a step runs two tokens."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from prior.model import Prior
from unclip.clip.features import TextFeatures
from unclip.diffusion.denoiser import Prepared
from unclip.nn.stepping import Stepper


def prepare_steps(
    prior: Prior,
    texts: Sequence[tuple[TextFeatures, int]],
    times: Sequence[int],
    *,
    padded: bool = False,
) -> Prepared:
    """Runs texts and times through the transformer; what it returns answers as `Prior.forward`.

    Args:
        texts: batches of texts; each text is for so many neighbouring rows of (batch, dim).
        times: the times that the loop will ask for.
        padded: all texts take the room of the longest possible one, for the sake of recordings.
    """
    index = {t: number for number, t in enumerate(times)}
    stepper = Stepper(
        prior.transformer_blocks,
        [prefix for text, _ in texts for prefix in prior.prefixes(text)],
        [count for text, count in texts for _ in range(len(text))],
        prior.time_tokens(times),
        tokens=2,
        padded=prior.config.context_length + 1 if padded else None,
    )

    def run(x_t: Float[Tensor, "batch dim"], step: Any, rooms: Any) -> Float[Tensor, "batch dim"]:
        tokens = prior.new_tokens(x_t.to(prior.proj_in.weight.dtype))
        return prior.answer(stepper.run(tokens, step, rooms))

    return Prepared(run, lambda t: stepper.at(index[t]), stepper.rooms)
