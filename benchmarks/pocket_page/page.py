"""Fills the templates: the page, the model card, and the README's pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from benchmarks.pocket_page.costs import costs_table, total_cost
from benchmarks.pocket_page.figures import Figures, figures_table, reached
from benchmarks.pocket_page.model import ModelFacts
from benchmarks.pocket_page.prompts import Section
from benchmarks.pocket_page.runs import Run
from benchmarks.pocket_page.world import Known, known_list
from unclip.data.composer.backdrops import SCENERIES
from unclip.data.composer.colours import COLOURS
from unclip.errors import ConfigError, DataError
from unclip.evaluation.retrieval import CANDIDATES
from unclip.evaluation.suite import RETRIEVAL

HERE = Path(__file__).parent
BEGIN, END = "<!-- pocket: made by python -m benchmarks.pocket_page -->\n", "<!-- /pocket -->\n"
HEADLINES = {
    "retrieval_seen": "captions of seen compositions found among 100",
    "retrieval_heldout_compositions": "of held-out ones",
    "colour": "the colour asked for",
    "astronaut": "the astronaut on the horse, told from 20 neighbours",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """All that the templates are filled with."""

    model: ModelFacts
    sections: Sequence[Section]
    size_px: int
    """Of the sheets' pictures."""
    sheets: Sequence[str]
    """Their names."""
    after: Figures
    before: Figures | None
    runs: Sequence[Run]
    clip_world: Known
    decoder_world: Known
    ablations: str
    looked_at: int
    """Pictures of each group among which failures were looked for."""
    num_failures: int
    """Pictures of each group that are shown as failures."""

    @property
    def pictures(self) -> list[str]:
        """The pictures that are painted, by name."""
        return [
            *self.sheets,
            "failures.webp",
            "readme.webp",
            f"astronaut_{self.model.sizes[-1]}.webp",
        ]


def page(content: Content) -> str:
    """Returns `docs/pocket.md`."""
    model, after, before = content.model, content.after, content.before
    verdicts = [reached(key, row) for key, row in after.rows.items()]
    sheets = [
        f"![Sheet {place}: a picture of each prompt](pocket/{name})"
        for place, name in enumerate(content.sheets, 1)
    ]
    return _fill(
        "page.md",
        **_of_model(model),
        known=known_list(content.clip_world, content.decoder_world),
        num_prompts=str(sum(len(section.prompts) for section in content.sections)),
        size=str(content.size_px),
        rows="; ".join(section.title.lower() for section in content.sections),
        sheets="\n\n".join(sheets),
        large=str(model.sizes[-1]),
        observations=_read(HERE / "observations.md").strip(),
        limits=_read(HERE / "limits.md").strip(),
        departures=_read(HERE / "departures.md").strip(),
        num_reached=str(verdicts.count(True)),
        num_targets=str(len(verdicts) - verdicts.count(None)),
        score=f"{after.score:.3f}",
        score_before=f" (before: {before.score:.3f})" if before else "",
        figures=figures_table(after, before),
        failure_rule=_failure_rule(content),
        costs=costs_table(content.runs),
        total=total_cost(content.runs),
        ablations=content.ablations,
    )


def card(content: Content) -> str:
    """Returns the model card."""
    known = content.decoder_world
    credits = dict.fromkeys([*known.credits, *content.clip_world.credits])
    rows = content.after.rows
    headlines = [
        f"{text} {100 * rows[key].made.value:.0f} %"
        for key, text in HEADLINES.items()
        if key in rows
    ]
    return _fill(
        "card.md",
        **_of_model(content.model),
        name=content.model.name,
        sizes=" and ".join(str(size) for size in content.model.sizes[1:]),
        num_nouns=str(len(known.words)),
        num_colours=str(len(COLOURS)),
        num_places=str(len(SCENERIES)),
        num_filters=str(len(known.filters)),
        filters=", ".join(known.filters),
        num_riders=str(len(known.nouns["rider"])),
        num_mounts=str(len(known.nouns["mount"])),
        score=f"{content.after.score:.3f}",
        headlines=f"Shares: {'; '.join(headlines)}.",
        num_drawings=f"{content.clip_world.drawings:,}",
        credits="; ".join(credits),
        total=total_cost(content.runs),
    )


def readme(path: Path, content: Content, docs: str) -> str:
    """Returns the README with its pictures between its marks; `docs` is the page's folder, seen
    from it.

    Raises:
        DataError: it cannot be read, or has not both marks once.
    """
    text = _read(path)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise DataError(f"{path} needs the lines {BEGIN.strip()} and {END.strip()} once each")
    before, _, rest = text.partition(BEGIN)
    _, _, behind = rest.partition(END)
    made = _fill(
        "readme.md",
        docs=docs,
        megabytes=content.model.megabytes,
        total=total_cost(content.runs),
        first_prompts="; ".join(section.prompts[0] for section in content.sections),
    )
    return f"{before}{BEGIN}\n{made}\n{END}{behind}"


def write(path: Path, text: str) -> None:
    """Writes a text.

    Raises:
        DataError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def _of_model(model: ModelFacts) -> dict[str, str]:
    return {
        "parameters": f"{model.parameters:,}",
        "megabytes": model.megabytes,
        "precision": model.precision,
        "hash": model.hash,
    }


def _failure_rule(content: Content) -> str:
    groups = ", ".join(group.replace("_", " ") for group in RETRIEVAL)
    return (
        f"Chosen by a rule: of the first {content.looked_at} pictures of each of the suite's "
        f"groups for R-precision ({groups}: a row each, with the suite's prompts and seeds) those "
        f"{content.num_failures} whose own caption the judge puts furthest behind among "
        f"{CANDIDATES}; of equal ones the suite's first. Left is the model's picture at "
        f"{content.model.sizes[0]} px, right the true one of that prompt; the number is the "
        "caption's rank. The judge errs, too: a picture here may be right."
    )


def _fill(name: str, /, **values: str) -> str:
    """Fills a template.

    Raises:
        ConfigError: the template and the values have not the same names.
    """
    template = Template(_read(HERE / name))
    wanted = set(template.get_identifiers())
    if not template.is_valid() or wanted != set(values):
        odd = ", ".join(sorted(wanted ^ set(values))) or "a $ that is none"
        raise ConfigError(f"the template {name} and its values differ in: {odd}")
    return template.substitute(values)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
