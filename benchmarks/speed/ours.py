"""This project's pipeline as an engine, by its own stage methods."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.engine import Mark, Task
from unclip.pipeline.pipeline import UnCLIPPipeline


class Ours:
    """The exact pipeline: the same steps as the peer, the same pictures."""

    def __init__(self, pipe: UnCLIPPipeline) -> None:
        self.pipe = pipe

    def paint(self, task: Task, mark: Mark) -> np.ndarray:
        """Makes pictures, stage by stage."""
        pipe, generator = self.pipe, task.generator()
        text = pipe.encode_text(task.prompts)
        mark()
        embeds = pipe.sample_prior(text, num_inference_steps=task.steps.prior, generator=generator)
        mark()
        small = pipe.decode(
            embeds, text, num_inference_steps=task.steps.decoder, generator=generator
        )
        mark()
        images = pipe.upsample(small, num_inference_steps=task.steps.super_res, generator=generator)
        pixels = ((images.float().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
        mark()
        return pixels

    def call(self, task: Task) -> np.ndarray:
        """Makes the same pictures by the one call that users make."""
        return self.pipe(
            list(task.prompts),
            prior_num_inference_steps=task.steps.prior,
            decoder_num_inference_steps=task.steps.decoder,
            super_res_num_inference_steps=task.steps.super_res,
            generator=task.generator(),
            output_type="np",
        ).images


def load_exact(folder: Path, device: torch.device, dtype: torch.dtype) -> Ours:
    """Loads it as `unclip generate` does."""
    return Ours(UnCLIPPipeline.from_pretrained(folder, dtype=dtype).to(device))


def load_low_memory(folder: Path, device: torch.device, dtype: torch.dtype) -> Ours:
    """Loads it as `unclip generate --low-memory` does."""
    return Ours(UnCLIPPipeline.from_pretrained(folder, dtype=dtype, low_memory=True).to(device))


class Draft(Ours):
    """The preset for drafts: fewer steps, chosen by the pipeline and not by the task."""

    def paint(self, task: Task, mark: Mark) -> np.ndarray:
        """Makes pictures by one call; the text's time is told with the prior's."""
        chosen = self.pipe.settings(quality="draft")
        last = {"prior": chosen.prior_steps, "decoder": chosen.decoder_steps}

        def at_step(pipe: UnCLIPPipeline, index: int, t: int, values: dict[str, Any]) -> None:
            if index + 1 == last.get(values["stage"]):
                mark()

        mark()
        images = self.pipe(
            list(task.prompts),
            generator=task.generator(),
            quality="draft",
            callback_on_step_end=at_step,
            output_type="np",
        ).images
        mark()
        return images

    def call(self, task: Task) -> np.ndarray:
        """Makes the same pictures; it is one call in any case."""
        return self.paint(task, lambda: None)


def load_draft(folder: Path, device: torch.device, dtype: torch.dtype) -> Draft:
    """Loads it as `unclip generate --quality draft` does."""
    return Draft(UnCLIPPipeline.from_pretrained(folder, dtype=dtype).to(device))
