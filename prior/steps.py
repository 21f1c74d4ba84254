"""The prior in a sampling loop: text and times are run beforehand, a step runs two tokens."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from prior.model import Prior
from unclip.clip.features import TextFeatures
from unclip.nn.stepping import Stepper


class PriorSteps:
    """Answers as `Prior.forward` does, at the times that were named beforehand."""

    def __init__(
        self, prior: Prior, texts: Sequence[tuple[TextFeatures, int]], times: Sequence[int]
    ) -> None:
        """Runs the texts and the times through the transformer.

        Args:
            texts: batches of texts; each text is for so many neighbouring rows.
            times: the times that the loop will ask for.
        """
        self.prior = prior
        self._index = {t: index for index, t in enumerate(times)}
        prefixes = [prefix for text, _ in texts for prefix in prior.prefixes(text)]
        copies = [count for text, count in texts for _ in range(len(text))]
        self._stepper = Stepper(
            prior.transformer_blocks, prefixes, copies, prior.time_tokens(times), tokens=2
        )

    def __call__(self, x_t: Float[Tensor, "batch dim"], t: int) -> Float[Tensor, "batch dim"]:
        """Predicts the whitened x_start from whitened x_t, a row for each row of the texts."""
        self.enter(t)
        return self.run(x_t)

    def enter(self, t: int) -> None:
        """Sets the time of the calls of `run` that follow."""
        self._stepper.enter(self._index[t])

    def run(self, x_t: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Predicts at the time that was entered: the same operations on the same memory each
        time."""
        tokens = self.prior.new_tokens(x_t.to(self.prior.proj_in.weight.dtype))
        return self.prior.answer(self._stepper.run(tokens))
