"""unclip: a complete open unCLIP (DALL-E 2) system. Nothing heavy is imported until it is used."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unclip.nn.attention import set_attention_backend
    from unclip.pipeline.output import UnCLIPPipelineOutput
    from unclip.pipeline.pipeline import UnCLIPImageVariationPipeline, UnCLIPPipeline

__version__ = "0.1.0"

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
    if name == "set_attention_backend":
        from unclip.nn.attention import set_attention_backend

        return set_attention_backend
    if name in __all__:
        _check_stage_packages()
        from unclip.pipeline import output, pipeline

        return getattr(pipeline, name, None) or getattr(output, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
