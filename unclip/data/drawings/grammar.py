"""Enough English grammar for captions: articles, plurals, mass nouns, where a skin tone is said."""

import re

from unclip.data.drawings.words import words_of

MASS = words_of(
    """water rice bread milk ice fire snow fog rain wind money paper grass sand cheese bacon butter
    honey salt sugar spaghetti sushi popcorn hair wood coral lightning thunder clothing luggage
    garlic tofu mail music gold silver broccoli ginger dna soap yarn thread confetti poo poop
    smoke steam sweat meat corn oden dango sake mate fondue custard tea coffee beer wine juice
    jewelry furniture food traffic love peace sleep space anger fear joy laughter litter hummus
    jam seaweed lava mud dust ink glue rubber oil fuel gas steel iron bamboo ivy moss hay wool
    cotton silk leather lace knitting baggage equipment software chaos luck blood bubblegum
    toothpaste chess golf tennis rugby polo judo karate hockey lacrosse badminton camouflage
    mistletoe algae bacteria lettuce celery spinach cabbage parsley scenery ketchup mustard art"""
)
"""Nouns that take no article."""
PLURALS = words_of("people men women children feet teeth mice geese oxen dice cattle skis")
NOT_PLURAL = words_of(
    """bus gas lens iris tennis compass canvas atlas christmas bias chess news cactus octopus
    cyclops texas asparagus walrus platypus hippopotamus rhinoceros virus abacus campus circus
    crocus lotus hibiscus mars venus papyrus citrus santa claus"""
)
NUMBERS = words_of("no two three four five six seven eight nine ten eleven twelve both")
DETERMINED = words_of("a an the another this that my your his her its their every each")
GERUND_NOUNS = words_of(
    """ring king string wing swing spring ceiling earring evening morning thing building painting
    drawing dumpling duckling sapling seedling sibling sling pudding railing herring starling
    viking being wedding stocking opening dwelling icing clearing bearing fitting greeting
    meeting"""
)
"""Nouns of countable things that end in -ing."""
AGENTS = words_of(
    """person man woman people men women boy girl child baby kid face head hand cat dog bird monkey
    horse bear lion rabbit fox frog mouse clock jockey skier couple leaf globe airplane knight
    soldier cowboy wizard witch angel king queen fish penguin sun moon knife arrow"""
)
"""Nouns after which a word in -ing says what they do."""
BREAKS = words_of(
    """with of in on at from to for behind under over by between without near into against around
    inside above below through after before during who that wearing holding riding facing seen
    being"""
)
"""Words that end the noun and its adjectives."""
IDIOMS = words_of("bed bloom fear love space flight armor tears motion action front silhouette")
"""Take no article after `in`."""
PROPER = frozenset(
    ["mount fuji", "santa claus", "mrs. claus", "mx claus", "mrs claus", "father christmas"]
)
THE = frozenset(["statue of liberty", "kaaba", "tokyo tower", "milky way", "eiffel tower"])
AN_SOUND = re.compile(r"[aeiou]|(?:hour|honest|heir)|x-|[FHLMNRSX][A-Z]+\b")
A_SOUND = re.compile(r"uni(?!n)|use|eu|ewe|one\b|once|u-|ufo|uk\b|ukulele|utensil|u[kst]a?\b")


def split_head(name: str) -> tuple[str, str]:
    """Splits a name after its noun: `woman and man` | `holding hands`."""
    words = name.split()
    for index, word in enumerate(words[1:], 1):
        acts = word.endswith("ing") and words[index - 1].rstrip(",") in AGENTS
        if word in BREAKS or (acts and word not in GERUND_NOUNS):
            return " ".join(words[:index]), " ".join(words[index:])
    return name, ""


def with_article(name: str) -> str:
    """Puts `a`, `an`, `the` or nothing before a name, and articles inside it.

    Nothing stands before plurals, mass nouns, proper names and what has a number or an article.
    """
    name = inner_articles(name)
    if name in THE:
        return f"the {name}"
    head, _ = split_head(name)
    words = head.split()
    if not words or name in PROPER or words[0] in DETERMINED | NUMBERS:
        return name
    if "," in head or re.fullmatch(r"\d+", words[0]) or not is_countable(head):
        return name
    return f"{indefinite(name)} {name}"


def indefinite(text: str) -> str:
    """`a` or `an`, by the sound that follows."""
    return "an" if AN_SOUND.match(text) and not A_SOUND.match(text) else "a"


def is_countable(head: str) -> bool:
    """Whether a noun (its last word, or the first of two joined by `and`) is a singular thing."""
    first = head.split(" and ")[0].split()[-1] if " and " in head else head.split()[-1]
    word = re.sub(r"[^\w'-]", "", first)
    if word in MASS or word in PLURALS:
        return False
    if word.endswith("ing") and word not in GERUND_NOUNS:
        return False
    plural = word.endswith("s") and not word.endswith(("us", "is", "ss", "'s"))
    return not plural or word in NOT_PLURAL


def inner_articles(name: str) -> str:
    """Adds the article that labels leave out: `heart with arrow`, `person in tuxedo`."""
    match = re.fullmatch(
        r"(.+) (with|in|wearing|behind|without) ((?:[\w-]+ ){0,2}[\w-]+)( facing right)?", name
    )
    if match is None:
        return name
    before, link, noun, after = match[1], match[2], match[3], match[4] or ""
    words = noun.split()
    known = words[0] in DETERMINED | NUMBERS or re.match(r"\d", words[0])
    if known or BREAKS & set(words) or "and" in words or (link == "in" and words[-1] in IDIOMS):
        return name
    if not is_countable(noun):
        return name
    return f"{before} {link} {indefinite(noun)} {noun}{after}"


def with_tone(phrase: str, tone: tuple[str, ...] | None) -> str:
    """Says the skin tone of a person or hand right behind the noun that has it."""
    if not tone:
        return phrase
    tones = list(dict.fromkeys(tone))
    said = f"{' and '.join(tones)} skin tone{'s' if len(tones) > 1 else ''}"
    head, rest = split_head(phrase)
    if rest.startswith("of "):
        whole, rest = split_head(rest.removeprefix("of "))
        head = f"{head} of {whole}"
    if not rest:
        return f"{head} with {said}"
    if rest.startswith("with "):
        return f"{phrase} and {said}"
    return f"{head} with {said} {rest}"
