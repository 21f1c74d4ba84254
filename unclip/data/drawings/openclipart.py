"""The Debian package openclipart-svg: clip art of many hands, named by titles of many kinds."""

import hashlib
import html
import re
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from unclip.data.drawings.files import folder_of
from unclip.data.drawings.names import EmojiNames
from unclip.data.drawings.originals import Original
from unclip.data.drawings.packages import OPENCLIPART
from unclip.data.drawings.sources import Source
from unclip.data.drawings.words import plain_words
from unclip.errors import BackendError

PUBLIC_DOMAIN = re.compile(r"(?i)public ?domain")
WORDS = re.compile(r"<(svg:)?text\b")
"""Without fonts they would be missing: a stop sign that does not say so."""
TITLE = re.compile(r"<dc:title[^>]*>(.*?)</dc:title>", re.DOTALL)
CREATOR = re.compile(r"<dc:creator>.*?<dc:title>(.*?)</dc:title>", re.DOTALL)
KEYWORD = re.compile(r"<rdf:li[^>]*>(.*?)</rdf:li>", re.DOTALL)
TAG = re.compile(r"<[^>]+>")
LEFT_OUT = re.compile(
    r"(^|/)(special|duplicates|signs_and_symbols|logos?|flags|buttons|shapes|icons|cards|jigsaw"
    r"|flowchart|callouts|maps?|mimetypes|geography)(/|$)",
    re.IGNORECASE,
)
"""Folders that hold nothing one would ask to have drawn."""
MAX_BYTES = 1_500_000
MOST_WITH_ONE_TITLE = 3
"""A title that more files have says nothing."""
NO_TITLE = re.compile(r"^(untitled|drawing|svg|[\W\d]*)$", re.IGNORECASE)
ARTISTS = re.compile(
    r"\b(\d{1,3}|[a-z]{2,12} (\d{2})|architetto francesco rollandin?|architetto francesc \d*"
    r"|ganson|molumen|johnny automatic|jonathon? s rob|gerald g|nicu bucule\w*|machovka|mcol"
    r"|liftarn|ryanlerch|bogdanco\w*|jean victor balin|r|ivak|petri lummemaki|valessiobrito"
    r"|jarno vasamaa|pitr|harm|danko friedrich|kattekrab|chris\w*|jpeg|svg)\b",
    re.IGNORECASE,
)
"""Numbers and signatures in the names of files."""
BLACK_AND_WHITE = re.compile(r"\b(b and w|bw|black and white|b w)\b")
FILLER = re.compile(
    r"\b(b and w|bw|b w|nicu( b)?|alt|general|menu clip art collection example|body part|clothing"
    r"|contour|simple|color|colour|clip ?art|svg|etiquette|generic|r|mm)\d*\b"
)
NO_KEYWORDS = {
    *("", "unsorted", "clipart", "clip art", "hash", "symbol", "collection", "shapes"),
    "signs and symbols",
}
RAREST_ZIPF, COMMONEST_ZIPF = 2.2, 2.8
"""Word frequencies (log10 per 10^9 words) that all words, and one of them, must reach: drops what
is not English."""


def read(source: Source, cache: Path, _: EmojiNames) -> Iterator[Original]:
    """Lists the clip art that says it is in the public domain and has an English title.

    Raises:
        BackendError: wordfreq (extra `data`) is not installed.
        DataError: the package is incomplete.
    """
    if find_spec("wordfreq") is None:
        raise BackendError("naming clip art needs wordfreq: pip install 'unclip[data]'")
    remedy = OPENCLIPART.folder(cache)
    root = folder_of(remedy / source.part, remedy=remedy)
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*.svg"))
    texts = {name: (root / name).read_text(encoding="utf-8", errors="replace") for name in files}
    titles = {name: _title(text) for name, text in texts.items()}
    counts = Counter(title.lower() for title in titles.values() if title)
    for file, text in texts.items():
        if LEFT_OUT.search(file) or len(text.encode()) > MAX_BYTES or not _usable(text):
            continue
        title = titles[file]
        known = title and counts[title.lower()] <= MOST_WITH_ONE_TITLE and not NO_TITLE.match(title)
        name, ink = clean_name(title if known else _file_title(file))
        if is_english(name):
            yield _original(source, file, text, name, ink=ink)


def _usable(text: str) -> bool:
    """Whether it says that it is public domain, and holds no bitmap and no words to be set."""
    foreign = "<image" in text or "licenses/GPL" in text or WORDS.search(text)
    return not foreign and bool(PUBLIC_DOMAIN.search(text))


def _title(text: str) -> str:
    match = TITLE.search(text)
    return TAG.sub("", match[1]).strip() if match else ""


def _artist(text: str) -> str | None:
    match = CREATOR.search(text)
    name = " ".join(TAG.sub("", match[1]).split())[:60] if match else ""
    return name or None


def _file_title(file: str) -> str:
    return ARTISTS.sub(" ", re.sub(r"[_-]+", " ", Path(file).stem))


def clean_name(title: str) -> tuple[str, bool]:
    """Turns a title into plain words; also says whether it calls itself black and white."""
    title = html.unescape(title).replace("&", " and ")
    name = plain_words(re.sub(r"[^\w' ,-]", " ", title))
    ink = bool(BLACK_AND_WHITE.search(name))
    name = FILLER.sub(" ", name)
    name = re.sub(r"(?<=[a-z])\d+\b|\b\d+\b", "", name)
    name = re.sub(r"\bleone\b", "lion", name)
    return " ".join(name.split()).strip(" ,-"), ink


def is_english(name: str) -> bool:
    """Whether a name is of fitting length and made of English words."""
    from wordfreq import zipf_frequency

    words = [word for word in re.findall(r"[a-z]+", name) if len(word) > 2]
    if not words or not 2 < len(name) < 60:
        return False
    frequencies = [zipf_frequency(word, "en") for word in words]
    return min(frequencies) >= RAREST_ZIPF and max(frequencies) >= COMMONEST_ZIPF


def _original(source: Source, file: str, text: str, name: str, *, ink: bool) -> Original:
    folders = Path(file).parent.parts
    words = [plain_words(TAG.sub("", word)) for word in KEYWORD.findall(text)]
    words += [plain_words(folder) for folder in folders]
    keywords = [word for word in words if word not in NO_KEYWORDS and len(word) < 25]
    words_key = re.sub(r"\W+", "-", name)[:30]
    digest = hashlib.sha1(file.encode(), usedforsecurity=False).hexdigest()
    return Original(
        source=source.name,
        key=f"{digest[:10]}-{words_key}",
        label=name,
        keywords=tuple(dict.fromkeys(keywords))[:8],
        group="clipart",
        subgroup=folders[0] if folders else "",
        hexcode=None,
        tone=None,
        styles=("black and white clip art", "black line clip art") if ink else source.styles,
        author=_artist(text),
        svg=text,
        trim=True,
    )
