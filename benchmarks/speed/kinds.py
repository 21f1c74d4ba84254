"""The engines by device, in the order of the table."""

from benchmarks.speed.engine import Kind
from benchmarks.speed.ours import load_draft, load_exact
from benchmarks.speed.peers import load_plain, load_tuned

CPU = (
    Kind(name="P0", title="diffusers as documented", dtype="float32", load=load_plain),
    Kind(
        name="P0-bf16",
        title="diffusers in bfloat16, resize patched",
        dtype="bfloat16",
        load=load_plain,
        equal_output=False,
    ),
    Kind(name="U0", title="unclip, equal output", dtype="float32", load=load_exact),
    Kind(name="U0-bf16", title="unclip, equal steps", dtype="bfloat16", load=load_exact),
    Kind(
        name="U1",
        title='unclip, `quality="draft"`',
        dtype="bfloat16",
        load=load_draft,
        equal_output=False,
    ),
)
GPU = (
    Kind(
        name="P0",
        title="diffusers as documented",
        dtype="float16",
        load=load_plain,
        equal_output=False,
    ),
    Kind(
        name="P1",
        title="diffusers tuned: channels last, torch.compile",
        dtype="bfloat16",
        load=load_tuned,
        equal_output=False,
    ),
    Kind(name="U0", title="unclip, equal steps", dtype="bfloat16", load=load_exact),
    Kind(name="U0-fp16", title="unclip, equal steps", dtype="float16", load=load_exact),
    Kind(
        name="U1",
        title='unclip, `quality="draft"`',
        dtype="bfloat16",
        load=load_draft,
        equal_output=False,
    ),
)


def kinds_of(device: str) -> tuple[Kind, ...]:
    """Returns a device's engines."""
    return GPU if device == "cuda" else CPU
