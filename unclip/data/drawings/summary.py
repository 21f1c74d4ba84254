"""What a build did, in figures and in words."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from unclip.data.drawings.records import Drawing


@dataclass(kw_only=True, slots=True)
class Summary:
    """Filled while a set is built."""

    drawings: list[Drawing] = field(default_factory=list)
    chosen: dict[str, int] = field(default_factory=dict)
    """Drawings taken from the packages, by source."""
    rendered: int = 0
    """In this run; the others were finished before."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Drawings left out, by reason."""

    def figures(self) -> dict[str, Any]:
        """Counts for JSON."""
        return {
            "drawings": len(self.drawings),
            "concepts": len({drawing.concept for drawing in self.drawings}),
            "captions": sum(len(drawing.captions) for drawing in self.drawings),
            "splits": dict(Counter(drawing.split for drawing in self.drawings)),
            "sources": dict(Counter(drawing.source for drawing in self.drawings)),
            "chosen": self.chosen,
            "rendered": self.rendered,
            "dropped": dict(self.dropped),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        figures = self.figures()
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common())
        splits = ", ".join(f"{count:,} {name}" for name, count in figures["splits"].items())
        return [
            f"{figures['drawings']:,} drawings of {figures['concepts']:,} concepts with "
            f"{figures['captions']:,} captions ({splits})",
            *([f"left out: {dropped}"] if dropped else []),
        ]
