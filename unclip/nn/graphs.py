"""CUDA graphs: a function of tensors recorded once for its shapes, then replayed in one launch.

A network of a thousand small kernels takes longer to launch than to run (docs/speed.md); a replay
costs one launch. What a graph reads and writes stays where it was recorded, so arguments are copied
into buffers and answers are copied out. Graphs of one cache share a pool of memory: they never run
at the same time, and what they answered is kept alive.

PyTorch's rules for capture: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from unclip.nn.attention import current_attention_backend
from unclip.nn.residency import comes_and_goes
from unclip.nn.trees import Structure, Tree, flatten, unflatten

P = ParamSpec("P")
R = TypeVar("R")

MAX_GRAPHS = 16
"""That a cache keeps; the one that was not used for longest goes first."""
WARM_UPS = 3
"""Runs before a recording, in which libraries choose kernels and take their workspaces."""

_recording: ContextVar[bool] = ContextVar("recording", default=False)


Recorder = Callable[[Callable[[], list[Tensor]]], tuple[Callable[[], object], list[Tensor]]]
"""Records a run; returns what runs it again, and the tensors that then hold its answers."""


class CudaRecorder:
    """Records on the current device, all into one private pool of memory."""

    def __init__(self) -> None:
        self._pool = None

    def __call__(
        self, run: Callable[[], list[Tensor]]
    ) -> tuple[Callable[[], object], list[Tensor]]:
        """Warms up beside the current stream, as capture asks for, and records."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                run()
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads (a prefetch, a server) may go on using CUDA.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            answers = run()
        return graph.replay, answers


RECORDERS: dict[str, Callable[[], Recorder]] = {"cuda": CudaRecorder}
"""By the kind of device; on all others nothing is recorded."""


@dataclass
class _Graph:
    """One recording and its buffers."""

    buffers: list[Tensor]
    sources: list[tuple[Tensor | None, int]]
    """What each buffer after the first argument's holds a copy of, and as which version."""
    replay: Callable[[], object]
    answers: list[Tensor]
    structure: Structure


@dataclass
class GraphCache:
    """The graphs of one network."""

    recorder: Recorder = field(default_factory=CudaRecorder)
    max_graphs: int = MAX_GRAPHS
    _graphs: OrderedDict[Hashable, _Graph] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._graphs)

    def run(self, function: Callable[..., R], key: Hashable, *arguments: Tree) -> R:
        """Answers function(*arguments), recorded on the first call for these shapes.

        The answer is the caller's own. After the first argument a tensor that is the very object of
        the call before is not copied again; of inference mode's tensors, which count no versions,
        only the first argument's may be written into between calls.

        Args:
            function: of tensors that are in its arguments, or that stay in the same place as long
                as the network does. It is not kept: what holds a network must not be held by its
                own cache, or neither would ever be gone.
            key: tells functions apart; those of equal keys must do the same.
        """
        if _recording.get():
            return function(*arguments)  # a part of what is being recorded
        tensors, structure = flatten(arguments)
        first = len(flatten(arguments[0])[0])
        mode = current_attention_backend(), torch.is_inference_mode_enabled()
        place = (key, mode, structure, tuple(map(_signature, tensors)))
        graph = self._graphs.get(place)
        if graph is None:
            graph = self._record(function, tensors, structure, first)
            self._keep(place, graph)
        else:
            self._graphs.move_to_end(place)
            _fill(graph, tensors, first)
            graph.replay()
        return unflatten(graph.structure, [answer.clone() for answer in graph.answers])

    def release(self) -> None:
        """Forgets all graphs; their memory is free when the device has run them."""
        self._graphs.clear()

    def _keep(self, place: Hashable, graph: _Graph) -> None:
        self._graphs[place] = graph
        while len(self._graphs) > self.max_graphs:
            self._graphs.popitem(last=False)

    def _record(
        self,
        function: Callable[..., Any],
        tensors: list[Tensor],
        structure: Structure,
        first: int,
    ) -> _Graph:
        # Strides are kept: a channels-last picture stays one.
        buffers = [tensor.detach().clone() for tensor in tensors]
        shapes: list[Structure] = []

        def run() -> list[Tensor]:
            answers, shape = flatten(function(*unflatten(structure, buffers)))
            shapes[:] = [shape]
            return answers

        token = _recording.set(True)
        try:
            with torch.no_grad():
                replay, answers = self.recorder(run)
        finally:
            _recording.reset(token)
        graph = _Graph(buffers, [(None, 0)] * len(buffers), replay, answers, shapes[0])
        # A recording runs nothing by itself, and a warm-up may have written into its arguments.
        _fill(graph, tensors, first)
        replay()
        return graph


def _signature(tensor: Tensor) -> Hashable:
    return tensor.shape, tensor.dtype, tensor.stride(), tensor.device


def _fill(graph: _Graph, tensors: list[Tensor], first: int) -> None:
    """Copies into the buffers what has changed, in one launch for each type of number."""
    changed: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for index, tensor in enumerate(tensors):
        source = tensor, 0 if tensor.is_inference() else tensor._version
        if index >= first:
            kept, version = graph.sources[index]
            if kept is tensor and version == source[1]:
                continue
            graph.sources[index] = source
        buffers, sources = changed.setdefault(tensor.dtype, ([], []))
        buffers.append(graph.buffers[index])
        sources.append(tensor)
    for buffers, sources in changed.values():
        # No public function copies lists in one launch.
        torch._foreach_copy_(buffers, sources)  # pyright: ignore[reportPrivateImportUsage]


_caches: "WeakKeyDictionary[nn.Module, tuple[Hashable, GraphCache]]" = WeakKeyDictionary()


def graphs_of(network: nn.Module) -> GraphCache:
    """Returns the cache of a network on a device that records: one and the same until the network
    is moved or gone."""
    weight = next(network.parameters())
    where = (weight.data_ptr(), weight.dtype, weight.device)
    kept = _caches.get(network)
    if kept is None or kept[0] != where:
        kept = where, GraphCache(RECORDERS[weight.device.type]())
        _caches[network] = kept
    return kept[1]


def release(network: nn.Module) -> None:
    """Forgets the graphs of a network."""
    _caches.pop(network, None)


def graphed(network: Callable[P, R]) -> Callable[P, R]:
    """Returns a network's twin for CUDA that records itself and is replayed.

    Its arguments are positional trees of tensors, the first the picture, which alone may be written
    into between calls. Where a step as a whole is being recorded it becomes a part of that.
    """
    module = network if isinstance(network, nn.Module) else None
    own = GraphCache()

    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        assert not keywords, "a graph takes positional arguments"
        cache = own if module is None else graphs_of(module)
        return cache.run(network, hooks_of(module), *arguments)

    return call


def step_recorder(network: nn.Module) -> Callable[..., Any] | None:
    """Returns what records and replays steps of a network, as `sample_recorded` takes it; None
    where its device records nothing, or its weights are not always in the same place."""
    if next(network.parameters()).device.type not in RECORDERS or comes_and_goes(network):
        return None
    cache, hooks = graphs_of(network), tuple(map(hooks_of, network.modules()))

    def record(function: Callable[..., R], key: Hashable, *arguments: Tree) -> R:
        return cache.run(function, (key, hooks), *arguments)

    return record


def hooks_of(network: nn.Module | None) -> Hashable:
    """What watches a network is recorded with it: graphs with other hooks are other graphs."""
    return None if network is None else len(network._forward_hooks)
