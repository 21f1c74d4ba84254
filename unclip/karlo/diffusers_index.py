"""`model_index.json` of a diffusers unCLIP: which components it must name, each with its class.

A closed list: nothing is imported because the file names it, and a component lies in the folder of
its own name.
"""

from pathlib import Path
from typing import Any

from unclip.errors import CheckpointError, first_ten, shown
from unclip.karlo.json_file import read_json

INDEX = "model_index.json"
TEXT_TO_IMAGE = "UnCLIPPipeline"
IMAGE_VARIATION = "UnCLIPImageVariationPipeline"

_DIFFUSERS, _TRANSFORMERS = ("diffusers",), ("transformers",)
_SHARED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "decoder": (_DIFFUSERS, ("UNet2DConditionModel",)),
    "decoder_scheduler": (_DIFFUSERS, ("UnCLIPScheduler",)),
    "super_res_first": (_DIFFUSERS, ("UNet2DModel",)),
    "super_res_last": (_DIFFUSERS, ("UNet2DModel",)),
    "super_res_scheduler": (_DIFFUSERS, ("UnCLIPScheduler",)),
    "text_encoder": (_TRANSFORMERS, ("CLIPTextModelWithProjection",)),
    # The hub's files name the pipeline's own folder, diffusers' save_pretrained the library.
    "text_proj": (("unclip", "diffusers"), ("UnCLIPTextProjModel",)),
    "tokenizer": (_TRANSFORMERS, ("CLIPTokenizer", "CLIPTokenizerFast")),
}
COMPONENTS = {
    TEXT_TO_IMAGE: {
        **_SHARED,
        "prior": (_DIFFUSERS, ("PriorTransformer",)),
        "prior_scheduler": (_DIFFUSERS, ("UnCLIPScheduler",)),
    },
    IMAGE_VARIATION: {
        **_SHARED,
        "feature_extractor": (
            _TRANSFORMERS,
            (
                "CLIPImageProcessor",
                "CLIPImageProcessorFast",
                "CLIPImageProcessorPil",
                "CLIPFeatureExtractor",
            ),
        ),
        "image_encoder": (_TRANSFORMERS, ("CLIPVisionModelWithProjection",)),
    },
}
"""A pipeline's class to its components: the libraries and the classes that may be named."""
_REMARKS = ("_class_name", "_diffusers_version", "_name_or_path")


def is_diffusers_index(data: dict[str, Any]) -> bool:
    """Whether an index is one of diffusers' (of whatever class) and not one of ours."""
    return "_diffusers_version" in data or (
        data.get("_class_name") in COMPONENTS
        and any(isinstance(data.get(name), list) for name in _SHARED)
    )


def read_diffusers_index(folder: Path) -> str:
    """Checks the index; returns the pipeline's class.

    Raises:
        CheckpointError: it is no index of a diffusers unCLIP, names another class, or lacks a
            component.
    """
    path = folder / INDEX
    data = read_json(path)
    pipeline = data.get("_class_name")
    if not isinstance(pipeline, str) or pipeline not in COMPONENTS:
        raise CheckpointError(
            f"{path} asks for the class {shown(pipeline)}; only {' and '.join(COMPONENTS)} are "
            "loaded, nothing that a file names is imported"
        )
    wanted = COMPONENTS[pipeline]
    problems = [f"no {name}" for name in wanted if name not in data]
    problems += [
        f"{shown(name)}: {_named(value)}"
        for name, value in data.items()
        if name not in _REMARKS and not (name in wanted and _is_known(value, *wanted[name]))
    ]
    if problems:
        raise CheckpointError(
            f"{path} does not name the components of {pipeline}, and nothing else is loaded or "
            f"imported: {first_ten(problems)}"
        )
    return pipeline


def _is_known(value: object, libraries: tuple[str, ...], classes: tuple[str, ...]) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and value[0] in libraries
        and value[1] in classes
    )


def _named(value: object) -> str:
    if isinstance(value, list):
        return ".".join(shown(part) for part in value[:4])
    return shown(value)
