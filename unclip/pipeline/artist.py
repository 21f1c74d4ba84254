"""A pipeline as the suite measures it: prompts, pictures and seeds to pictures in [-1, 1]."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from unclip.diffusion.noise import SeededNoise
from unclip.pipeline.enlarge import without_augmentation
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.stages import find_upsampler, stage_name
from upsamplers.sample import upsample


class PipelineArtist:
    """Paints with the model's own defaults, at its smallest size."""

    def __init__(self, pipe: UnCLIPPipeline, *, check: Callable[[], None] = lambda: None) -> None:
        """Takes a pipeline.

        Args:
            check: called after every sampling step; what it raises ends the painting.
        """
        self.pipe, self.check = pipe, check

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes it paints, in pixels a side."""
        return self.pipe.sizes

    def paint(
        self, prompts: Sequence[str], seeds: Sequence[int]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Paints prompts, with prior and reranking as every user gets them."""
        made = self.pipe(
            list(prompts),
            seed=list(seeds),
            size=self.sizes[0],
            output_type="pt",
            batch_size=len(prompts),
            callback_on_step_end=self._step,
        )
        return made.images * 2 - 1

    def vary(
        self, images: Float[Tensor, "batch 3 size size"], seeds: Sequence[int]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Makes a subtle variation of each picture."""
        made = self.pipe.variations(
            images,
            seed=list(seeds),
            size=self.sizes[0],
            output_type="pt",
            batch_size=len(images),
            callback_on_step_end=self._step,
        )
        return made.images * 2 - 1

    def enlarge(
        self, images: Float[Tensor, "batch 3 size size"], seeds: Sequence[int]
    ) -> Float[Tensor, "batch 3 large large"]:
        """Enlarges by DDIM, with no noise on the small picture.

        Raises:
            InputError: no upsampler takes pictures of this size.
        """
        upsampler = find_upsampler(self.pipe.model, images)
        return upsample(
            without_augmentation(upsampler),
            images.to(self.pipe.device),
            noise=SeededNoise(tuple(seeds), stage_name(upsampler)),
            sampler="ddim",
            callback=lambda _: self.check(),
        )

    def _step(self, *_: object) -> None:
        self.check()
