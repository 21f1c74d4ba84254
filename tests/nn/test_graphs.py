"""Graphs on a CPU: what is recorded, what is copied, what is kept; and on a GPU if there is one."""

from typing import Any, NamedTuple

import pytest
import torch
from tape import TapeRecorder
from torch import Tensor, nn

from unclip.nn import graphs
from unclip.nn.attention import attention_backend
from unclip.nn.graphs import GraphCache, graphed, graphs_of, release, step_recorder
from unclip.nn.trees import flatten, unflatten
from unclip.nn.unet import UNet, UNetConfig

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


class Pair(NamedTuple):
    key: Tensor
    value: Tensor


@pytest.fixture
def tape() -> TapeRecorder:
    return TapeRecorder()


@pytest.fixture
def cache(tape: TapeRecorder) -> GraphCache:
    return GraphCache(tape)


def total(x: Tensor, pairs: tuple[Pair, ...], extra: dict[str, Any]) -> dict[str, Any]:
    for pair in pairs:
        x = x * pair.key + pair.value
    if extra["add"] is not None:
        x = x + extra["add"]
    return {"x": x, "pair": Pair(x + 1, x + 2), "times": extra["times"]}


def arguments(value: float) -> tuple[Tensor, tuple[Pair, ...], dict[str, Any]]:
    x = torch.full((2, 3), value)
    return x, (Pair(x + 1, x * 2), Pair(x - 1, x / 2)), {"add": x[:1] * 0.5, "times": 4}


def test_trees_are_put_together_again() -> None:
    tree = arguments(3.0)
    tensors, structure = flatten(tree)
    assert len(tensors) == 6
    again = unflatten(structure, [-tensor for tensor in tensors])
    assert isinstance(again, tuple)
    assert isinstance(again[1][1], Pair)
    assert torch.equal(again[1][1].value, -tree[1][1].value)
    assert again[2]["times"] == 4
    assert list(again[2]) == ["add", "times"]
    assert isinstance(unflatten(*reversed(flatten([tree[0]]))), list)
    kinds = [flatten((tree[0], value))[1] for value in (1, 1.0, True, None, "1", (1,), [1])]
    assert len(set(kinds)) == len(kinds)
    with pytest.raises(TypeError):
        flatten((tree[0], set()))


def test_a_replay_reads_the_new_arguments(cache: GraphCache, tape: TapeRecorder) -> None:
    for value in (1.0, 2.0, -3.0):
        expected, got = (
            run(*arguments(value)) for run in (total, lambda *a: cache.run(total, None, *a))
        )
        assert torch.equal(got["x"], expected["x"])
        assert torch.equal(got["pair"].value, expected["pair"].value)
        assert got["times"] == 4
    assert (tape.recordings, tape.replays) == (1, 3)


def test_python_does_not_run_again(cache: GraphCache) -> None:
    calls: list[float] = []

    def function(x: Tensor) -> Tensor:
        calls.append(1.0)
        return x + len(calls)

    answers = [float(cache.run(function, None, torch.tensor(5.0))) for _ in range(3)]
    assert answers == [6.0, 6.0, 6.0]
    assert len(calls) == 1


def test_answers_are_the_caller_s_own(cache: GraphCache) -> None:
    """Also where a function answers with its argument, or a part of it."""

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x[0]

    x = torch.ones(2, 2)
    first = cache.run(function, None, x)
    second = cache.run(function, None, x * 7)
    assert torch.equal(first[0], torch.ones(2, 2))
    assert torch.equal(first[1], torch.ones(2))
    assert torch.equal(second[1], torch.full((2,), 7.0))
    second[0].fill_(0)
    assert torch.equal(cache.run(function, None, x)[0], torch.ones(2, 2))


def test_a_function_may_write_into_its_arguments(cache: GraphCache) -> None:
    """The caller's stay as they are, and a replay begins from them again."""

    def function(x: Tensor) -> Tensor:
        return x.add_(1)

    x = torch.zeros(3)
    for _ in range(3):
        assert torch.equal(cache.run(function, None, x), torch.ones(3))
    assert torch.equal(x, torch.zeros(3))


@pytest.mark.parametrize("inference", [False, True])
def test_what_has_changed_is_copied_and_nothing_else(
    cache: GraphCache, monkeypatch: pytest.MonkeyPatch, inference: bool
) -> None:
    copied: list[int] = []
    copy: Any = vars(torch)["_foreach_copy_"]

    def counting(to: list[Tensor], source: list[Tensor]) -> None:
        copied.append(len(to))
        copy(to, source)

    monkeypatch.setattr(torch, "_foreach_copy_", counting)
    with torch.inference_mode(inference):
        x, pairs, extra = arguments(1.0)
        cache.run(total, None, x, pairs, extra)
        copied.clear()
        cache.run(total, None, x, pairs, extra)
        assert copied == [1]
        x.add_(5)  # the first argument may be written into
        got = cache.run(total, None, x, pairs, extra)
        assert torch.equal(got["x"], total(x, pairs, extra)["x"])
        other = (Pair(x * 3, x / 3), pairs[1])
        copied.clear()
        got = cache.run(total, None, x, other, extra)
        assert torch.equal(got["x"], total(x, other, extra)["x"])
        assert copied == [3]
        # Back to the first objects: they are others than those of the call before.
        got = cache.run(total, None, x, pairs, extra)
        assert torch.equal(got["x"], total(x, pairs, extra)["x"])
        if not inference:  # the others count their versions
            pairs[0].key.mul_(2)
            got = cache.run(total, None, x, pairs, extra)
            assert torch.equal(got["x"], total(x, pairs, extra)["x"])


def test_each_shape_type_layout_and_backend_has_a_graph(
    cache: GraphCache, tape: TapeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(x: Tensor, key: object = None) -> None:
        assert torch.equal(cache.run(torch.neg, key, x), -x)

    x = torch.randn(2, 4, 4, 4)
    layouts = [x, x[:1], x.double(), x.to(memory_format=torch.channels_last)]
    for count, layout in enumerate(layouts, 1):
        run(layout)
        run(layout + 1)
        assert tape.recordings == len(cache) == count
    run(x, "another function")
    monkeypatch.setattr(graphs, "current_attention_backend", lambda: "xformers")
    run(x)
    with torch.inference_mode():
        run(x)
    assert tape.recordings == 7


def test_a_layout_is_kept(cache: GraphCache) -> None:
    x = torch.randn(2, 4, 3, 3).to(memory_format=torch.channels_last)
    seen: list[bool] = []

    def function(x: Tensor) -> Tensor:
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return x * 2

    cache.run(function, None, x)
    assert seen == [True]


def test_the_graph_that_was_not_used_for_longest_goes(tape: TapeRecorder) -> None:
    cache = GraphCache(tape, max_graphs=2)
    for size in (1, 2, 1, 3, 1, 2):
        cache.run(torch.neg, None, torch.ones(size))
    assert tape.recordings == 4  # 2 had to go for 3
    cache.release()
    assert len(cache) == 0


def test_a_graph_within_a_graph_is_a_part_of_it(tape: TapeRecorder) -> None:
    inner, outer = GraphCache(tape), GraphCache(tape)

    def step(x: Tensor) -> Tensor:
        return inner.run(torch.neg, None, x) * 3

    assert float(outer.run(step, None, torch.tensor(2.0))) == -6
    assert float(outer.run(step, None, torch.tensor(5.0))) == -15
    assert (tape.recordings, len(inner)) == (1, 0)
    assert float(inner.run(torch.neg, None, torch.tensor(1.0))) == -1
    assert tape.recordings == 2


def test_a_failed_recording_leaves_nothing_behind(cache: GraphCache) -> None:
    with pytest.raises(RuntimeError, match="shape"):
        cache.run(lambda x: x.view(7), None, torch.ones(3))
    assert len(cache) == 0
    assert float(cache.run(torch.neg, None, torch.tensor(2.0))) == -2
    assert len(cache) == 1


def test_a_network_s_graphs_end_with_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Linear(2, 2)
    assert step_recorder(network) is None  # on a CPU nothing is recorded
    monkeypatch.setitem(graphs.RECORDERS, "cpu", TapeRecorder)
    first = graphs_of(network)
    assert graphs_of(network) is first
    network.to(torch.float64)
    second = graphs_of(network)
    assert second is not first
    release(network)
    assert graphs_of(network) is not second


def test_what_watches_a_network_is_recorded_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(graphs.RECORDERS, "cpu", TapeRecorder)
    network = nn.Sequential(nn.Linear(2, 2))
    seen = torch.zeros(())

    def run() -> None:
        record = step_recorder(network)
        assert record is not None
        record(network, "step", torch.ones(1, 2))

    run()
    handle = network[0].register_forward_hook(lambda *_: seen.add_(1) and None)
    run()
    run()
    handle.remove()
    run()
    assert float(seen) == 3  # recorded, which runs it once here, and replayed twice


def tiny_unet() -> UNet:
    config = UNetConfig(
        channels=(8, 16), depth=1, attention=(False, True), head_dim=8, context_dim=4, groups=4
    )
    return UNet(config).eval()


def unet_arguments(network: UNet, t: int) -> tuple[Any, ...]:
    device = network.conv_in.weight.device
    x = torch.randn(2, 3, 16, 16, device=device)
    modulations = network.modulations(torch.full((2,), t, device=device), None)
    tokens = torch.randn(2, 5, 4, device=device)
    return x, modulations, network.context(tokens)


def test_a_u_net_replayed_is_the_u_net(tape: TapeRecorder, randomise: Any) -> None:
    network = tiny_unet()
    randomise(network)
    cache = GraphCache(tape)
    for t in (900, 500, 0):
        given = unet_arguments(network, t)
        assert torch.allclose(cache.run(network, None, *given), network(*given), atol=1e-6)
    assert tape.recordings == 1


@needs_cuda
def test_a_u_net_replayed_on_cuda_is_the_u_net(randomise: Any) -> None:
    network = tiny_unet().cuda().to(memory_format=torch.channels_last)
    randomise(network)
    twin = graphed(network)
    kept = []
    for t in (900, 500, 0):
        given = unet_arguments(network, t)
        answer = twin(*given)
        kept.append((answer, answer.clone()))
        assert torch.allclose(answer, network(*given), atol=1e-5)
    for answer, copy in kept:
        assert torch.equal(answer, copy)
    with attention_backend("sdpa"):
        assert len(graphs_of(network)) == 1
    release(network)
