"""Records of the speed benchmark with chosen times."""

from collections.abc import Mapping, Sequence

from benchmarks.speed.compare import Compared
from benchmarks.speed.engine import STAGES
from benchmarks.speed.record import (
    CONTROL,
    REFERENCE,
    About,
    Limit,
    Machine,
    Record,
    Row,
    Share,
    Timed,
    Work,
)
from benchmarks.speed.shapes import KARLO_STEPS

SAME = Compared(error=0.0, psnr=200.0, saturated=0.1, finite=True, equal=True)


def record_of(times: Mapping[str, Sequence[float]], again: Sequence[float] | None = None) -> Record:
    """A record of the small shape on a CPU; an engine's times are its totals, alike in all stages,
    and the control is as fast as the reference unless its own are given."""
    columns = {**times, CONTROL: again or times[REFERENCE]}
    rounds = tuple(
        tuple(
            Timed(engine=name, seconds=tuple([totals[turn] / len(STAGES)] * len(STAGES)))
            for name, totals in columns.items()
        )
        for turn in range(len(times[REFERENCE]))
    )
    machine = Machine(name="a CPU", features=("avx2",), threads=1, memory_bytes=2**34)
    about = About(
        shape="small",
        device="cpu",
        batch=1,
        steps=KARLO_STEPS,
        machine=machine,
        versions=(("python", "3.12"), ("torch", "2.11")),
        commit="0123456789ab",
    )
    rows = tuple(
        Row(
            name=name,
            title="ours" if name.startswith("U") else "the peer",
            dtype="bfloat16" if name.endswith("bf16") else "float32",
            compared=SAME,
            calls=(1, 20, 300, 4000),
            profile=(Share(operation="a | b", share=0.75, calls=12),),
        )
        for name in times
    )
    work = tuple(Work(stage=stage, plain_flop=2e9, flop=1e9, weights=10) for stage in STAGES)
    limit = Limit(dtype="float32", flop_per_second=10e9, bytes_per_second=1e12, source="made up")
    return Record(about=about, work=work, limits=(limit,), rows=rows, rounds=rounds)
