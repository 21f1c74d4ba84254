"""Prompts to the words that byte-pair encoding works on, as open_clip and as Hugging Face cut them.

Both cut at whitespace, between letters, digits and the rest, and before contractions. They differ
in what they do first: open_clip repairs mojibake, undoes HTML entities and drops control characters
(ftfy); Hugging Face composes characters (NFC) and keeps the rest. Plain English comes out the same.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator

from unclip.clip.config import Clean

_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
_CLASSES = r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_PLAIN = re.compile(r"[\t\n\r -~]*")
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_SURROGATES = re.compile("[\ud800-\udfff]")

# Case is ignored after lowering, too: the long s is a lower-case letter that matches s.
_OPEN_CLIP = re.compile(f"<start_of_text>|<end_of_text>|{_CONTRACTIONS}", re.IGNORECASE)
_OPEN_CLIP_SPECIAL = {"<start_of_text>": 0, "<end_of_text>": 1}

_HUGGING_FACE = re.compile(rf"<\|startoftext\|>|<\|endoftext\|>|{_CONTRACTIONS}")
_HUGGING_FACE_SPECIAL = {"<|startoftext|>": 0, "<|endoftext|>": 1}


def words(text: str, clean: Clean) -> Iterator[str | int]:
    """Yields a prompt's words in lower case; 0 and 1 where it spells start and end of text."""
    if clean == "open_clip":
        return _open_clip_words(text)
    return _hugging_face_words(text)


def _open_clip_words(text: str) -> Iterator[str | int]:
    # ftfy returns printable ASCII as it is, unless it holds an entity.
    if not _PLAIN.fullmatch(text) or _ENTITY.search(text):
        import ftfy

        text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text))
    # open_clip ignores case when it cuts, and then takes the iota below, a mark whose capital is a
    # letter, for neither.
    text = " ".join(text.split()).lower().replace("\u0345", " ")
    for word in _cut_by_regex(text) if _has_unknown(text) else _cut(text, _OPEN_CLIP):
        yield _OPEN_CLIP_SPECIAL.get(word, word)


def _hugging_face_words(text: str) -> Iterator[str | int]:
    text = _SURROGATES.sub("\ufffd", text)
    for part in re.split(r"(<\|startoftext\|>|<\|endoftext\|>)", text):
        if part in _HUGGING_FACE_SPECIAL:
            yield _HUGGING_FACE_SPECIAL[part]
            continue
        for word in _cut_normalised(part):
            # Spelt in capitals it is no special token, and its brackets are words of their own.
            if word in _HUGGING_FACE_SPECIAL:
                yield from ("<|", word[2:-2], "|>")
            else:
                yield word


def _cut_normalised(text: str) -> Iterable[str]:
    # Hugging Face composes by older tables than Python's: let it, where there is anything to do.
    if _has_unknown(text) or not unicodedata.is_normalized("NFC", text):
        return _cut_by_tokenizers(text)
    # Lowered character by character: Hugging Face knows no final sigma.
    return _cut("".join(map(str.lower, text)), _HUGGING_FACE)


def _cut(text: str, atoms: re.Pattern[str]) -> Iterator[str]:
    """Cuts into atoms, runs of letters, single digits, and runs of anything else but whitespace."""
    kinds = [_kind(character) for character in text]
    start = 0
    while start < len(text):
        end = start + 1
        if atom := atoms.match(text, start):
            end = atom.end()
        elif kinds[start] != "N":
            while end < len(text) and kinds[end] == kinds[start]:
                end += 1
        if atom or kinds[start] != " ":
            yield text[start:end]
        start = end


def _kind(character: str) -> str:
    # The information separators are whitespace to Python alone.
    if character.isspace() and character not in "\x1c\x1d\x1e\x1f":
        return " "
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else "other"


def _has_unknown(text: str) -> bool:
    """Tells characters that this Python's Unicode tables lack: the libraries may know more."""
    return not text.isascii() and any(unicodedata.category(c) == "Cn" for c in text)


def _cut_by_regex(text: str) -> Iterable[str]:
    import regex

    return regex.findall(f"{_OPEN_CLIP.pattern}|{_CLASSES}", text, regex.IGNORECASE)


def _cut_by_tokenizers(text: str) -> Iterable[str]:
    from tokenizers import Regex, normalizers, pre_tokenizers

    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    pattern = Regex(f"{_HUGGING_FACE.pattern}|{_CLASSES}")
    cutter = pre_tokenizers.Split(pattern, "removed", invert=True)
    return [word for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(text))]
