"""SVG texts with a square view, so that a drawing has the same frame at any size."""

import re
from typing import NamedTuple

ROOT = re.compile(r"""<((?:\w+:)?svg)\b((?:[^<>"']|"[^"]*"|'[^']*')*)>""")
ATTRIBUTE = re.compile(r"""([\w:.-]+)\s*=\s*("[^"]*"|'[^']*')""")
LENGTH = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(px|pt|pc|mm|cm|in|)\s*$")
PIXELS = {"": 1.0, "px": 1.0, "pt": 96 / 72, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96}
"""Of 96 to the inch, as CSS has it."""
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


class Box(NamedTuple):
    """A rectangle in user units."""

    left: float
    top: float
    width: float
    height: float

    def squared(self, margin: float = 0.0) -> "Box":
        """The square around its middle; `margin` is the share of it that stays free."""
        side = max(self.width, self.height) / (1 - margin)
        left = self.left + (self.width - side) / 2
        return Box(left, self.top + (self.height - side) / 2, side, side)

    def __str__(self) -> str:
        return " ".join(f"{value:.6g}" for value in self)


def square(body: str, box: Box) -> str:
    """Wraps the body of an icon; what it draws outside of its box stays hidden."""
    if box.width != box.height:
        clip = f'<svg x="{box.left}" y="{box.top}" width="{box.width}" height="{box.height}" '
        body = f'{clip}viewBox="{box}">{body}</svg>'
    return f'<svg {NAMESPACES} viewBox="{box.squared()}" color="black">{body}</svg>'


class Page:
    """A whole SVG file, whose view can be changed.

    Raises:
        ValueError: it has no root element, or no size.
    """

    def __init__(self, text: str) -> None:
        # The text is written as UTF-8 whatever the declaration says.
        self._text = re.sub(r"^\s*<\?xml.*?\?>", "", text, flags=re.DOTALL)
        root = ROOT.search(self._text)
        if root is None:
            raise ValueError("no svg element")
        self._root = root
        self._attributes = dict(ATTRIBUTE.findall(root[2]))
        self.box = self._find_box()

    def _find_box(self) -> Box:
        view = self._value("viewBox")
        if view is not None:
            numbers = [float(part) for part in re.split(r"[\s,]+", view.strip())]
            if len(numbers) == 4 and numbers[2] > 0 and numbers[3] > 0:
                return Box(*numbers)
        width, height = (self._length(name) for name in ("width", "height"))
        if not width or not height or width < 0 or height < 0:
            raise ValueError("no size")
        return Box(0, 0, width, height)

    def _value(self, name: str) -> str | None:
        quoted = self._attributes.get(name)
        return None if quoted is None else quoted[1:-1]

    def _length(self, name: str) -> float | None:
        match = LENGTH.match(self._value(name) or "")
        return float(match[1]) * PIXELS[match[2]] if match else None

    def part(self, left: int, top: int, right: int, bottom: int, width_px: int) -> Box:
        """The part of the page under some pixels of it, rendered `width_px` wide."""
        unit = self.box.width / width_px
        return Box(
            self.box.left + left * unit,
            self.box.top + top * unit,
            (right - left) * unit,
            (bottom - top) * unit,
        )

    def with_view(self, view: Box) -> str:
        """Shows another part of the page; what lies beyond the page stays hidden."""
        tag = self._root[1]
        own = ("viewBox", "width", "height", "x", "y", "preserveAspectRatio")
        kept = " ".join(f"{k}={v}" for k, v in self._attributes.items() if k not in own)
        page = self.box
        size = f'x="{page.left}" y="{page.top}" width="{page.width}" height="{page.height}"'
        head = f'<{tag} {kept} viewBox="{view}"><{tag} {size} viewBox="{page}">'
        before, after = self._text[: self._root.start()], self._text[self._root.end() :]
        closing = f"</{tag}>"
        return before + head + closing.join([*after.rsplit(closing, 1)[:1], "", ""])
