"""Checkpoints of sharded weights: any number of processes, and DDP's beside FSDP2's."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from forks import fork_ranks, join
from processes import tensors
from torch import nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from unclip.training.ema import Ema
from unclip.training.optim import make_optimizer
from unclip.training.progress import Progress, TrainState
from unclip.training.settings import TrainConfig
from unclip.training.state import Checkpoints, checkpoint_folders
from unclip.training.tensors import train_tensors
from unclip.training.world import Ranks

CONFIG = TrainConfig(steps=100, batch_size=8, lr=0.1)


def made(*, sharded: bool, scale: float) -> TrainState:
    """A model of seven rows, which no number of processes divides, after one step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    if sharded:
        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    # The average is a small one here, the same for all: how it is sharded is its own affair.
    state = TrainState(
        model,
        Ema(nn.Linear(1, 1), (0.1,)),
        make_optimizer(model, CONFIG),
        Progress(step=int(scale)),
    )
    model(torch.ones(1, 5)).square().sum().backward()
    state.optimizer.step()
    return state


def whole(state: TrainState) -> dict[str, torch.Tensor]:
    return {
        name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        for name, tensor in train_tensors(state).items()
        if not name.startswith("ema.")
    }


def in_group(work: Callable[[Ranks], None]) -> int:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo")
    work(Ranks(dist.get_rank(), dist.get_world_size(), torch.device("cpu")))
    dist.barrier()
    dist.destroy_process_group()
    return 0


def test_any_sharding_is_read_into_any_other(tmp_path: Path) -> None:
    root, output = tmp_path / "checkpoints", tmp_path / "output"
    expected = {name: value.clone() for name, value in whole(made(sharded=False, scale=1)).items()}

    def go_on(ranks: Ranks, sharded: bool, step: int) -> None:
        """Loads what is there into other numbers, compares, and saves it as a later step."""
        checkpoints = Checkpoints(root, 2, {"world_size": ranks.size}, ranks)
        state = made(sharded=sharded, scale=1 if step == 1 else 3)
        if step > 1:
            assert checkpoints.load_newest(state)
        for name, value in whole(state).items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-7)
        state.progress.step = step
        checkpoints.save(state)

    plan = ((2, True), (3, True), (1, True), (3, False), (2, True), (1, False))
    for step, (count, sharded) in enumerate(plan, 1):
        pids = fork_ranks(
            count,
            lambda s=sharded, n=step: in_group(lambda ranks: go_on(ranks, s, n)),
            output,
        )
        assert join(pids) == [0] * count, output.read_text()
    newest = checkpoint_folders(root)[-1]
    assert newest.name == "step_00000006"
    found = tensors(tmp_path, 6)
    for name, value in expected.items():
        part, _, rest = name.partition(".")
        torch.testing.assert_close(found[part][rest], value, rtol=0, atol=1e-7)


def test_torch_reads_our_shards(tmp_path: Path) -> None:
    """The layout is that of torch's own safetensors storage."""
    root, output = tmp_path / "checkpoints", tmp_path / "output"

    def write(ranks: Ranks) -> None:
        Checkpoints(root, 2, {}, ranks).save(made(sharded=True, scale=1))

    def read(ranks: Ranks) -> None:
        expected = whole(made(sharded=False, scale=1))
        found = {name: torch.zeros_like(value) for name, value in expected.items()}
        load(found, storage_reader=HuggingFaceStorageReader(str(root / "step_00000001")))
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-7)

    for work in (write, read):
        pids = fork_ranks(2, lambda w=work: in_group(w), output)
        assert join(pids) == [0, 0], output.read_text()
