"""The world of the built set: its held-out drawings and concepts, and pictures of another hand."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from unclip.data.drawings.records import Drawing, read_table
from unclip.evaluation.bundled import BundledWorld
from unclip.evaluation.drawn import drawing_case, in_fixed_order, is_for_the_judge, render_all
from unclip.evaluation.suite import Case, Group


class BuiltWorld:
    """Drawings that no model is trained on, beside the scenes of the bundled illustrations."""

    def __init__(self, folder: Path) -> None:
        """Reads the set's table.

        Raises:
            DataError: there is no finished set in `folder`.
        """
        self.folder, self.scenes = folder, BundledWorld()
        self.name = f"the set {folder}"
        drawings = [drawing for drawing in read_table(folder) if not is_for_the_judge(drawing)]
        shipped = in_fixed_order([drawing for drawing in drawings if drawing.tier != "C"])
        self._drawings: dict[Group, list[Drawing]] = {
            "heldout_drawings": [drawing for drawing in shipped if drawing.split == "val"],
            "heldout_concepts": [drawing for drawing in shipped if drawing.split == "test"],
        }
        self._foreign = in_fixed_order([drawing for drawing in drawings if drawing.tier == "C"])

    @property
    def num_reference(self) -> int:
        """Drawings of tier C."""
        return len(self._foreign)

    def needs(self, group: Group | None) -> str:
        """Says what the set lacks."""
        return "a --set with tier C" if group is None else "a world that holds them out"

    def cases(self, group: Group, count: int) -> list[Case]:
        """Returns the first cases of a group."""
        if group in self._drawings:
            return [drawing_case(drawing) for drawing in self._drawings[group][:count]]
        return self.scenes.cases(group, count)

    def truth(
        self, cases: Sequence[Case], size_px: int, take: int = 0
    ) -> Float[Tensor, "batch 3 size size"]:
        """Renders the drawing of each case, or paints its scene; never both in one call."""
        if cases and isinstance(cases[0].key, Drawing):
            return render_all(self.folder, [case.key for case in cases], size_px)
        return self.scenes.truth(cases, size_px, take)

    def reference(self, count: int, size_px: int) -> Float[Tensor, "batch 3 size size"]:
        """Renders drawings of tier C: no model is trained on them, nor is the judge."""
        return render_all(self.folder, self._foreign[:count], size_px)

    def renders(self, count: int, size_px: int) -> Float[Tensor, "batch 3 size size"]:
        """Paints scenes at a large size."""
        return self.scenes.renders(count, size_px)
