"""One of two processes: its half of a batch, and the gradient that both then share."""

import sys

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from unclip.config import load_config
from unclip.training.clip import ClipRun, ClipStage
from unclip.training.draws import Draws


def main(config: str, images: str, out: str) -> None:
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    torch.manual_seed(0)
    stage = ClipStage(load_config(ClipRun, config, [f"images={images}"]))
    stage.prepare(accelerator.device)
    model = accelerator.prepare_model(stage.model)

    mine = range(8 * accelerator.process_index, 8 * accelerator.process_index + 8, 2)
    samples = [stage.dataset[position, position] for position in mine]
    batch = {
        "image": torch.stack([sample["image"] for sample in samples]),
        "caption": [sample["caption"] for sample in samples],
    }
    accelerator.backward(stage.loss(model, batch, Draws(0, "clip", mine))["loss"])
    if accelerator.is_main_process:
        gradients = {n: p.grad for n, p in stage.model.named_parameters() if p.grad is not None}
        save_file({name: g.contiguous() for name, g in gradients.items()}, out)
    accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
