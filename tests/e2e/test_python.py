"""Arguments of other types than Python callers should give, each told in one line.

In a fresh process: the test run's own type checks would refuse them before the package does.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import io, json, sys
import numpy as np, torch
from PIL import Image
from unclip import UnCLIPPipeline
from unclip.errors import InputError

pipe = UnCLIPPipeline.from_pretrained(sys.argv[1])
steps = {"size": 64, "num_inference_steps": 1}
both = steps | {"prior_num_inference_steps": 1}
grey = Image.new("L", (8, 8))
text = pipe.encode_text("a")
dim = text.embed.shape[1]
png = io.BytesIO()
Image.effect_noise((200, 200), 50).save(png, "PNG")
cut = Image.open(io.BytesIO(png.getvalue()[:9000]))
prompt = lambda value: pipe(value, **both)
seed = lambda value: pipe("a", seed=value, **both)
several = lambda value: pipe("a", 2, seed=value, **both)
count = lambda value: pipe("a", value, **both)
size = lambda value: pipe("a", size=value)
number = lambda value: pipe("a", num_inference_steps=value, size=64)
super_res = lambda value: pipe("a", super_res_num_inference_steps=value, size=256)
scale = lambda value: pipe("a", guidance_scale=value, **both)
generator = lambda value: pipe("a", generator=value, **both)
batch = lambda value: pipe("a", batch_size=value, **both)
tensors = lambda value: pipe("a", callback_on_step_end_tensor_inputs=value, **both)
photo = lambda value: pipe.variations(value, **steps)
strength = lambda value: pipe.variations(grey, strength=value, **steps)
fit = lambda value: pipe.variations(grey, fit=value, **steps)
embeds = lambda value: pipe.decode(value, num_inference_steps=1)
with_text = lambda value: pipe.decode(value, text, num_inference_steps=1)
small = lambda value: pipe.upsample(value, num_inference_steps=1)

for case in sys.stdin.read().splitlines():
    call, _, value = case.partition(" ")
    try:
        globals()[call](eval(value))
        print("ok")
    except InputError as error:
        print(error)
    except Exception as error:
        print("raised", repr(error))
"""
WHOLE = "expected a whole number"
PICTURE = "expected a PIL image, the path of a file, or a tensor"
VALUES = "expected (batch, 3, height, width) with values in [-1, 1]"
CASES = {
    "seed np.int64(3)": "ok",
    "seed torch.tensor(3)": "ok",
    "seed 3.0": WHOLE,
    "seed True": WHOLE,
    "seed '3'": WHOLE,
    "several np.array([3, 9])": "ok",
    "several [3, 9.5]": WHOLE,
    "several np.int64(3)": "ok",
    "count np.int32(1)": "ok",
    "count 1.0": WHOLE,
    "count None": WHOLE,
    "prompt None": "got no prompt: give prompt or text_model_output",
    "prompt b'abc'": "got b'abc' as a prompt, expected text",
    "prompt {'a': 1}": "as a prompt, expected text",
    "prompt ('a',)": "ok",
    "number 2.0": WHOLE,
    "number None": "ok",
    "size '64'": "size is '64', this model paints",
    "size [64]": "size is [64], this model paints",
    "super_res [1.5]": WHOLE,
    "super_res np.array([1])": "ok",
    "scale float('nan')": "guidance is nan, expected 0 to 1000",
    "scale '3'": "guidance is '3', expected 0 to 1000",
    "scale np.float32(2)": "ok",
    "generator 3": "got 3 as a generator, expected torch.Generator",
    "generator [torch.Generator()]": "ok",
    "generator [None]": "got None as a generator, expected torch.Generator",
    "batch 1.5": WHOLE,
    "tensors ['latents']": "ok",
    "tensors ['prompt_embeds']": "only latents are handed out",
    "photo None": "got no image: give image or image_embeddings",
    "photo np.zeros((4, 4, 3))": f"got ndarray as a picture, {PICTURE}",
    "photo b'png'": f"got bytes as a picture, {PICTURE}",
    "photo [grey, None]": f"got NoneType as a picture, {PICTURE}",
    "photo []": "got no picture, expected one or more",
    "photo Image.new('RGB', (0, 5))": "got a picture of 0x5 pixels",
    "photo cut": "damaged or cut off",
    "photo torch.zeros(0, 3, 4, 4)": VALUES,
    "photo torch.zeros(1, 3, 4, 4, dtype=torch.int)": VALUES,
    "photo torch.full((1, 3, 4, 4), torch.nan)": VALUES,
    "photo torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16)": "ok",
    "strength None": "ok",
    "strength [1]": "strength is [1], expected 0 to 1, subtle or strong",
    "fit None": "fit None is unknown: choose crop, pad or stretch",
    "embeds torch.zeros(1, dim)": "ok",
    "embeds torch.zeros(1, dim + 1)": "expected (batch, ",
    "with_text torch.zeros(2, dim)": "got 1 texts for 2 embeddings",
    "small torch.zeros(1, 3, 63, 63)": "pictures are 63 px, this model's upsamplers take 64, 256",
    "small torch.zeros(3, 64, 64)": "expected (batch, 3, size, size)",
}


@pytest.fixture(scope="module")
def answers(tiny_runs: Path) -> dict[str, str]:
    """What the script says of each case."""
    cases = "\n".join(CASES)
    command = [sys.executable, "-c", SCRIPT, str(tiny_runs / "model")]
    done = subprocess.run(command, input=cases, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(CASES), done.stdout
    return dict(zip(CASES, lines, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_an_argument(answers: dict[str, str], case: str) -> None:
    assert CASES[case] in answers[case]
    assert (CASES[case] == "ok") == (answers[case] == "ok")
