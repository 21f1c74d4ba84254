"""A record as bars: seconds of each engine, a colour a stage."""

from xml.sax.saxutils import escape

from benchmarks.speed.engine import STAGES
from benchmarks.speed.ratios import seconds
from benchmarks.speed.record import Record
from benchmarks.speed.table import NAMES

COLOURS = {"text": "#94a3b8", "prior": "#2563eb", "decoder": "#f59e0b", "super_res": "#16a34a"}
WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 760, 84, 76, 40, 22, 10


def chart(record: Record, title: str) -> str:
    """Draws the medians as one small SVG."""
    names = [row.name for row in record.rows]
    parts = {name: [seconds(record, name, stage).median for stage in STAGES] for name in names}
    longest = max(sum(values) for values in parts.values())
    scale = (WIDTH - LEFT - RIGHT) / longest
    height = TOP + len(names) * (BAR + GAP) + 34
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-weight="bold">{escape(title)}</text>',
    ]
    for place, (name, values) in enumerate(parts.items()):
        top, x = TOP + place * (BAR + GAP), float(LEFT)
        lines.append(f'<text x="{LEFT - 8}" y="{top + 15}" text-anchor="end">{escape(name)}</text>')
        for stage, value in zip(STAGES, values, strict=True):
            lines.append(
                f'<rect x="{x:.1f}" y="{top}" width="{value * scale:.1f}" height="{BAR}" '
                f'fill="{COLOURS[stage]}"/>'
            )
            x += value * scale
        lines.append(f'<text x="{x + 6:.1f}" y="{top + 15}">{sum(values):.3g} s</text>')
    for place, stage in enumerate(STAGES):
        x = LEFT + place * 110
        lines.append(
            f'<rect x="{x}" y="{height - 24}" width="12" height="12" fill="{COLOURS[stage]}"/>'
        )
        lines.append(f'<text x="{x + 18}" y="{height - 14}">{NAMES[stage]}</text>')
    return "\n".join([*lines, "</svg>", ""])
