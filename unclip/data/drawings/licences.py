"""`THIRD_PARTY_DATA.md`: who made the drawings, under which licences, and what was done to them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from unclip.data.drawings.records import Drawing
from unclip.data.drawings.sources import Source

LICENCE_TEXTS = {
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "MIT": "https://opensource.org/license/mit",
    "CC-PDDC": "https://creativecommons.org/licenses/publicdomain/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "GPL-2.0-or-later": "https://www.gnu.org/licenses/old-licenses/gpl-2.0.html",
}
TIER_MEANINGS = {
    "A": "permissive licences and the public domain",
    "B": "attribution",
    "C": "share-alike and copyleft; never trained into weights that ship with unclip",
}
WHAT_WAS_DONE = (
    "The drawings were selected, rendered at 256 px (clip art and stamps: cut to what is drawn), "
    "named, captioned and used for training; scenes are composed of them, in which they are "
    "scaled, recoloured and filtered. Their authors do not endorse this."
)
NAMES = (
    "Names, groups and keywords come from Unicode CLDR (Unicode-3.0, "
    "https://www.unicode.org/license.txt) by way of emojibase-data (MIT, Miles Johnson) and from "
    "emojilib (MIT, Mu-An Chiou). The word frequencies of wordfreq (Apache-2.0, data CC-BY-SA-4.0, "
    "Robyn Speer) chose clip art by its title; nothing of them is in the set."
)


def third_party(
    drawings: Sequence[Drawing], sources: Sequence[Source], versions: Mapping[str, str]
) -> str:
    """Writes the page, in Markdown.

    Args:
        sources: those of the set.
        versions: of the packages, by name.
    """
    counts = Counter(drawing.source for drawing in drawings)
    used = [source for source in sources if counts[source.name]]
    lines = [
        "# Third-party data",
        "",
        f"{len(drawings)} drawings, made by others and openly licensed. {WHAT_WAS_DONE}",
        "",
    ]
    for tier, meaning in TIER_MEANINGS.items():
        mine = [source for source in used if source.tier == tier]
        if mine:
            lines += [f"## Tier {tier}: {meaning}", "", *_table(mine, counts, versions), ""]
    lines += ["## Attributions", "", *(f"- {_attribution(source)}" for source in used), ""]
    lines += _artists(drawings, used)
    lines += ["## Names and captions", "", NAMES, ""]
    lines += ["## Licences", ""]
    ids = dict.fromkeys(source.licence for source in used)
    lines += [f"- `{spdx}`: <{LICENCE_TEXTS[spdx]}>" for spdx in ids]
    return "\n".join(lines) + "\n"


def _table(
    sources: Sequence[Source], counts: Mapping[str, int], versions: Mapping[str, str]
) -> list[str]:
    rows = ["| source | drawings | author | SPDX | package |", "|---|---|---|---|---|"]
    for source in sources:
        package = f"{source.package.name} {versions[source.package.name]}"
        work = f"[{source.title}]({source.link})"
        row = (f"`{source.name}`: {work}", counts[source.name], source.author, source.licence)
        rows.append(f"| {' | '.join(map(str, row))} | {package} |")
    return rows


def _attribution(source: Source) -> str:
    """The sentence that a licence with attribution asks for."""
    credit = f" ({source.credits})" if source.credits else ""
    return (
        f"{source.title} by {source.author}{credit}, {source.link}, licensed under "
        f"[{source.licence}]({LICENCE_TEXTS[source.licence]}); rendered, captioned and used for "
        "training."
    )


def _artists(drawings: Sequence[Drawing], sources: Sequence[Source]) -> list[str]:
    """The artists of sources whose drawings name their own."""
    lines = []
    for source in sources:
        of_all = source.attribution
        own = Counter(
            drawing.attribution.removeprefix(f"{source.title}, ")
            for drawing in drawings
            if drawing.source == source.name and drawing.attribution != of_all
        )
        if own:
            listed = ", ".join(f"{name} ({count})" for name, count in sorted(own.items()))
            lines += [f"## Artists of {source.title}", "", listed, ""]
    return lines
