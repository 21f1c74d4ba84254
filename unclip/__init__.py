"""unclip: a complete open unCLIP (DALL-E 2) system. Nothing heavy is imported until it is used."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unclip.nn.attention import set_attention_backend
    from unclip.pipeline.output import UnCLIPPipelineOutput
    from unclip.pipeline.pipeline import UnCLIPImageVariationPipeline, UnCLIPPipeline

__version__ = "0.1.0"

_HOMES = {
    "UnCLIPImageVariationPipeline": "unclip.pipeline.pipeline",
    "UnCLIPPipeline": "unclip.pipeline.pipeline",
    "UnCLIPPipelineOutput": "unclip.pipeline.output",
    "set_attention_backend": "unclip.nn.attention",
}
"""The modules that public names come from."""

__all__ = [
    "UnCLIPImageVariationPipeline",
    "UnCLIPPipeline",
    "UnCLIPPipelineOutput",
    "set_attention_backend",
]


def _check_stage_packages() -> None:
    """Raises ImportError when another distribution's `prior`, `decoder` or `upsamplers` hides
    ours."""
    root = Path(__file__).resolve().parents[1]
    for name in ("prior", "decoder", "upsamplers"):
        spec = find_spec(name)
        origin = spec.origin if spec else None
        if origin is None or Path(origin).resolve().parents[1] != root:
            raise ImportError(
                f"unclip needs its own package '{name}' from {root}, but Python finds {origin}. "
                f"Another distribution installs a package of that name: run pip uninstall {name}."
            )


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        _check_stage_packages()
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
