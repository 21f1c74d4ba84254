"""The page of an evaluation: one HTML file with its pictures inside, which loads nothing."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unclip.evaluation.figures import Figure
from unclip.evaluation.report import HEADER, row

STYLE = """
:root { color-scheme: light dark; --made: #c2410c; --real: #2563eb; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; }
body { padding: 0 1rem; }
h1, h2 { font-weight: 600; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; } th, td { padding: .25rem .8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr + tr td { border-top: 1px solid #8884; }
.remark { border-left: 3px solid var(--made); padding-left: .8rem; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } svg { width: 460px; max-width: 100%; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg .grid { stroke: #8883; } svg .axis { stroke: currentColor; }
svg polygon.made, svg rect.made { fill: var(--made); fill-opacity: .35; stroke: var(--made); }
svg polygon.real, svg rect.real { fill: var(--real); fill-opacity: .25; stroke: var(--real); }
svg line.made { stroke: var(--made); stroke-width: 2; } svg circle.made { fill: var(--made); }
svg line.real { stroke: var(--real); stroke-width: 2; } svg circle.real { fill: var(--real); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 49%; aspect-ratio: 1; image-rendering: auto; }
figcaption { font-size: 12px; } .score { opacity: .7; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dd { margin: 0; }
"""


LEGEND = "Orange: the model's pictures; blue: the real ones. Bars are intervals of 95 %."


@dataclass(frozen=True, slots=True)
class Shown:
    """A pair on a sheet."""

    caption: str
    real: bytes
    """WebP."""
    made: bytes
    score: float
    """The cosine of the painted picture and the caption."""


def page(
    title: str,
    figures: Sequence[Figure],
    remarks: Sequence[str],
    plots: Sequence[str],
    sheets: Mapping[str, Sequence[Shown]],
    about: Mapping[str, str],
) -> str:
    """Lays out a page.

    Args:
        plots: SVG.
        sheets: pictures by what the sheet is called.
        about: how it was measured, in words.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", _table(figures)]
    parts += [f'<p class="remark">{html.escape(remark)}</p>' for remark in remarks]
    parts += ["<h2>Plots</h2>", f"<p>{LEGEND}</p>", '<div class="plots">', *plots, "</div>"]
    for name, shown in sheets.items():
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts += ["<p>Left the real picture, right the painted one.</p>", '<div class="sheet">']
        parts += [*map(_figure, shown), "</div>"]
    rows = (f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in about.items())
    parts += ["<h2>How it was measured</h2>", "<dl>", *rows, "</dl>"]
    # Nothing may be loaded, whatever a caption says: it is escaped, and the policy forbids it, too.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
    )
    return "\n".join([head, *parts, "</body></html>", ""])


def _table(figures: Sequence[Figure]) -> str:
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in HEADER)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row(each)) for each in figures]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _figure(shown: Shown) -> str:
    images = (base64.b64encode(content).decode() for content in (shown.real, shown.made))
    tags = " ".join(
        f'<img alt="{name}" src="data:image/webp;base64,{image}">'
        for name, image in zip(("real", "painted"), images, strict=True)
    )
    caption = html.escape(shown.caption)
    return (
        f"<figure>{tags}<figcaption>{caption} "
        f'<span class="score">{shown.score:.3f}</span></figcaption></figure>'
    )
