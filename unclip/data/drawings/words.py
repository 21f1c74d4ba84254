"""Word lists that decide which interface icons show a thing, and what may not be in a name."""

import re


def words_of(text: str) -> frozenset[str]:
    """Makes a set of the words of a text."""
    return frozenset(text.split())


INTERFACE = words_of(
    """add align arrow arrows up down left right circle square box file files folder text format
    layout user users account wifi toggle sort check checkmark cross delete remove edit setting
    settings search list menu grid off on plus minus slash bracket code api app application apps
    website browser cursor click drag border column row table tag tags filter zoom expand collapse
    undo redo reload refresh sync share link unlink upload download login logout loading spinner
    page document documents data database server network cloud-data chart graph analytics diagram
    number percent currency sign symbol symbols button badge notification alert warning info
    question help contract payment bill invoice marketing seo strategy business management
    collaboration team crypto bitcoin logo internet programming content interface
    essential"""
)
"""What icons of user interfaces are named after, and nobody asks to have drawn."""

VARIANTS = frozenset({"duo", "flat", "light", "fill"})
"""Words in the names of icons that tell how, not what."""

THINGS = words_of(
    """car skull lamp sword shield castle horse dog cat bird fish tree flower house church tent
    bottle cup glass knife fork spoon plate chair table bed sofa clock watch phone laptop robot
    rocket boat ship train bus truck bicycle motorcycle airplane helicopter tractor guitar piano
    drum violin trumpet ball bat racket crown hat shoe boot shirt dress skirt glove sock umbrella
    bag backpack suitcase box basket bucket broom candle torch axe hammer saw shovel pickaxe wrench
    anvil bow arrow gun cannon bomb key lock door window bridge tower lighthouse windmill fountain
    statue mountain volcano island river lake waterfall sun moon star cloud rainbow snowflake
    snowman dragon unicorn witch wizard ghost zombie vampire mermaid fairy angel knight king queen
    ninja pirate cowboy soldier apple pear banana cherry lemon grape strawberry tomato carrot corn
    mushroom cake cookie donut candy pizza burger sandwich egg cheese butterfly bee ant spider snail
    frog turtle snake lizard crab shark whale octopus penguin owl eagle duck rabbit mouse fox wolf
    bear lion tiger elephant monkey cow pig sheep goat deer"""
)
"""Things beyond the names of emoji."""

NO_THINGS = words_of(
    """dizzy fly medium double broken type print bath exchange increase male female angle triangle
    bars bubble drama return close upload blind smoking position stop move money number hole wave
    hand mode part piece zone no first second third free new cool ok top end on! soon one two old
    open back good bad nature animal food drink sport sports body face person people man woman tool
    tools object place travel day time hot cold red blue green yellow black white office work job
    science art music-note weather building sound volume card record play pause fast forward rewind
    next previous high low bright brightness dim mail message letter write writing note
    notes"""
)
"""Ends of emoji names that say too little, or another thing than an icon of that name shows."""

COLOURS = words_of(
    """red orange yellow green blue purple pink brown grey gray golden black white beige
    teal"""
)
"""Words that must be true of the picture where they stand in a caption."""

BRANDS = re.compile(
    r"\b(logo|adobe|apple|google|facebook|twitter|microsoft|windows|android|amazon|instagram"
    r"|whatsapp|youtube|tiktok|linux|ubuntu|firefox|chrome|safari|opera|github|gitlab|slack|skype"
    r"|paypal|visa|mastercard|spotify|netflix|iphone|ipad|macbook|imac|xbox|playstation|nintendo"
    r"|disney|pokemon|pinterest|linkedin|reddit|snapchat|debian|gnu|gnome|kde|mozilla|wikimedia"
    r"|wikipedia|bluetooth|usb|openmoji|mastodon|telegram|discord|dropbox|behance|dribbble|bitcoin"
    r"|ethereum|brand|trademark|emojione|fontawesome)\b",
    re.IGNORECASE,
)
"""Trade marks, which the set leaves out."""


def plain_words(name: str) -> str:
    """Turns a file's name into words: lower case, hyphens and underscores as spaces."""
    return " ".join(re.sub(r"[-_]+", " ", name).split()).lower()
