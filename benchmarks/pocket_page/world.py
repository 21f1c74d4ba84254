"""What the model was shown, from its recipe and the set: nouns by role, colours, styles, places."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decoder.config import DecoderRun
from unclip.config import load_config
from unclip.data.composer.backdrops import PLAIN, SCENERIES
from unclip.data.composer.catalogue import Catalogue, Role
from unclip.data.composer.colours import COLOURS
from unclip.data.composer.heldout import HELD_OUT_PERCENT
from unclip.data.drawings.records import Drawing, read_set
from unclip.data.synonyms import synonyms
from unclip.errors import DataError
from unclip.training.clip import ClipRun
from unclip.training.pictures import SceneSource, Source

TITLES: dict[Role, str] = {
    "thing": "things",
    "rider": "riders",
    "mount": "mounts",
    "hat": "hats",
    "face": "wearers of hats",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What a stage was shown."""

    drawings: int
    sources: tuple[str, ...]
    nouns: dict[Role, tuple[str, ...]]
    styles: tuple[str, ...]
    """Of the drawings themselves."""
    filters: tuple[str, ...]
    credits: tuple[str, ...]
    """Whose drawings they are, with the licence."""

    @property
    def words(self) -> set[str]:
        """All nouns."""
        return {noun for nouns in self.nouns.values() for noun in nouns}


def read_known(recipe: Path, folder: Path) -> tuple[Known, Known]:
    """Returns what CLIP and what the decoder were shown.

    Args:
        recipe: folder of the stages' configurations.
        folder: the built set.

    Raises:
        DataError: the recipe's pictures are no scenes, or the set cannot be read.
        ConfigError: the recipe cannot be read.
    """
    drawings = read_set(folder)
    clip = load_config(ClipRun, recipe / "clip.yaml").images
    decoder = load_config(DecoderRun, recipe / "decoder.yaml").images
    return _known(clip, drawings), _known(decoder, drawings)


def _known(source: Source, drawings: Sequence[Drawing]) -> Known:
    if not isinstance(source, SceneSource):
        raise DataError(f"the recipe takes its pictures from the folder {source}, expected scenes")
    settings = source.world
    catalogue = Catalogue(drawings, sources=settings.sources, nouns=settings.nouns)
    nouns: dict[Role, tuple[str, ...]] = {
        role: tuple(sorted({e.noun for e in catalogue.entries if role in e.roles}))
        for role in TITLES
    }
    credits = {f"{e.drawing.attribution} ({e.drawing.licence})" for e in catalogue.entries}
    styles = {style for entry in catalogue.entries for style in entry.drawing.styles}
    return Known(
        drawings=len(catalogue),
        sources=catalogue.sources,
        nouns=nouns,
        styles=tuple(sorted(styles)),
        filters=settings.filters if settings.filter_share else (),
        credits=tuple(sorted(credits)),
    )


def known_list(clip: Known, decoder: Known) -> str:
    """Says what the model knows, a point for each kind."""
    points = [_point(TITLES[role], nouns) for role, nouns in decoder.nouns.items()]
    points += [
        _point("colours that things are turned to", tuple(COLOURS)),
        _point("plain backgrounds beside white", tuple(PLAIN)),
        _point("sceneries", tuple(SCENERIES)),
        _point("styles that a filter makes of any scene", decoder.filters),
        _point("styles of the drawings themselves", decoder.styles),
    ]
    others = {n: words for n, words in synonyms().items() if n in decoder.words}
    count = sum(map(len, others.values()))
    points.append(f'- **{count} other words** for {len(others)} of its nouns ("puppy" for a dog);')
    points.append(
        f"- **held out**: {HELD_OUT_PERCENT} % of all pairs of a rider and a mount, a colour and a "
        "thing, a left and a right thing; an astronaut on a horse always."
    )
    more = len(clip.words - decoder.words)
    points.append(
        f"\nThe decoder's world has {len(decoder.words)} nouns in {decoder.drawings:,} drawings of "
        f"{_hands(len(decoder.sources))}; CLIP learned {more} nouns more, of {clip.drawings:,} "
        "drawings, which the decoder never painted."
    )
    return "\n".join(points)


def _hands(count: int) -> str:
    return "one hand" if count == 1 else f"{count} hands"


def _point(title: str, words: Sequence[str]) -> str:
    return f"- **{len(words)} {title}**: {', '.join(words)};"
