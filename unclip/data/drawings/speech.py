"""How a person says what Unicode calls by a label: `busts in silhouette`, `family: man, boy`."""

import re

from unclip.data.drawings.grammar import inner_articles
from unclip.data.drawings.words import COLOURS

COLOURED = {"symbols", "smileys-emotion", "animals-nature", "food-drink", "objects", "icon"}
"""Groups whose labels name the colour of the whole thing."""
ALIASES = {"grey": "gray", "golden": "yellow"}
PEOPLE = r"(man|woman|person|people|men|women)"

_HOURS = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
RIDERS = {
    "1F3C7": "jockey riding a horse",
    "1F6B4": "person riding a bicycle",
    "1F6B5": "person riding a mountain bike",
    "1F3C2": "person riding a snowboard",
    "26F7": "skier going downhill",
}
"""By code points; the labels do not tell that they ride."""


def spoken(label: str, group: str, hexcode: str | None) -> str:
    """The everyday name from which the concept is made; held-out concepts hang on its wording."""
    name = re.sub(r"^flag: ?", "flag of ", label.lower())
    name = name.replace("’", "'").replace("“", '"').replace("”", '"')
    hair = re.match(r"(man|woman|person): (.*hair|bald|beard)$", name)
    if hair:
        what = {"bald": "a bald head", "beard": "a beard"}.get(hair[2], hair[2])
        name = f"{hair[1]} with {what}"
    couples = r"^(kiss|couple with heart|family|men holding hands|women holding hands): (.*)$"
    name = re.sub(couples, r"\1 with \2", name)
    name = re.sub(rf"^((?:{_HOURS})(?: o'clock|-thirty))$", r"clock showing \1", name)
    if hexcode in RIDERS and not re.match(r"(man|woman|men|women)\b", name):
        name = RIDERS[hexcode]
    name = re.sub(r"^(man|woman|person) biking$", r"\1 riding a bicycle", name)
    name = re.sub(r"^(man|woman|person) mountain biking$", r"\1 riding a mountain bike", name)
    name = re.sub(r"^(man|woman|person) in lotus position$", r"\1 meditating", name)
    return name.replace(" button", " button sign") if group == "symbols" else name


_BETTER = {
    "bust in silhouette": "silhouette of a person",
    "busts in silhouette": "silhouettes of two people",
    "ok hand": "hand making an ok sign",
    "kiss": "couple kissing",
    "couple with heart": "couple with a heart",
    "index pointing up": "hand with the index finger pointing up",
    "index pointing at the viewer": "hand pointing at the viewer",
    "hand with index finger and thumb crossed": "hand with thumb and index finger crossed",
    "palms up together": "two hands with the palms up",
    "raising hands": "two raised hands",
    "breast-feeding": "woman breast-feeding a baby",
    "selfie": "hand taking a selfie",
    "rolling on the floor laughing": "face rolling on the floor laughing",
    "star-struck": "star-struck face",
    "face with tongue": "face sticking out its tongue",
    "winking face with tongue": "winking face sticking out its tongue",
    "squinting face with tongue": "squinting face sticking out its tongue",
    "locked": "closed padlock",
    "unlocked": "open padlock",
    "locked with key": "closed padlock with a key",
    "locked with pen": "closed padlock with a pen",
    "camping": "tent at a campsite",
    "foggy": "city in the fog",
    "construction": "construction barrier",
    "cooking": "fried egg in a pan",
    "wedding": "wedding chapel",
    "kiss mark": "lipstick kiss mark",
    "collision": "explosion",
    "dizzy": "dizzy star",
    "dashing away": "puff of air",
    "hundred points": "number 100 underlined twice",
    "bowling": "bowling ball and pins",
    "badminton": "badminton racket and shuttlecock",
    "lacrosse": "lacrosse stick and ball",
    "ping pong": "ping pong paddle and ball",
    "tennis": "tennis ball",
    "field hockey": "field hockey stick and ball",
    "ice hockey": "ice hockey stick and puck",
    "cricket game": "cricket bat and ball",
    "performing arts": "theatre masks",
    "fork and knife with plate": "fork, knife and plate",
    "zzz": "the letters zzz",
    "hand with fingers splayed": "hand with spread fingers",
    "nail polish": "hand with painted nails",
    "four leaf clover": "four-leaf clover",
    "leaf fluttering in wind": "leaf fluttering in the wind",
    "baguette bread": "baguette",
    "globe showing americas": "globe showing the americas",
    "building construction": "building under construction",
    "hourglass done": "hourglass",
    "hourglass not done": "hourglass with running sand",
    "high voltage": "lightning bolt",
    "umbrella on ground": "umbrella on the ground",
    "meat on bone": "meat on the bone",
    "face with steam from nose": "face with steam from the nose",
    "face with symbols on mouth": "face with symbols over the mouth",
    "face with hand over mouth": "face with a hand over the mouth",
    "face with open eyes and hand over mouth": "face with open eyes and a hand over the mouth",
    "speaker low volume": "speaker at low volume",
    "speaker medium volume": "speaker at medium volume",
    "speaker high volume": "speaker at high volume",
    "chart increasing": "chart with a rising line",
    "chart decreasing": "chart with a falling line",
    "chart increasing with yen": "chart with a rising line and a yen sign",
    "pouring liquid": "liquid pouring from a glass",
    "light rail": "light rail train",
    "airplane departure": "airplane taking off",
    "airplane arrival": "airplane landing",
    "person in suit levitating": "levitating person in a suit",
    "headphone": "headphones",
    "horse racing": "jockey riding a horse",
    "milky way": "night sky with the milky way",
}
"""Labels that nobody would say, and what the pictures show."""

_ROLES = (
    "health worker|student|teacher|judge|farmer|cook|mechanic|factory worker|office worker"
    "|scientist|technologist|singer|artist|pilot|astronaut|firefighter|police officer|detective"
    "|guard|construction worker|superhero|supervillain|mage|fairy|vampire|elf|genie|zombie"
)
_PHRASES = [
    (rf"^{PEOPLE} gesturing ok$", r"\1 making an ok sign"),
    (rf"^{PEOPLE} gesturing no$", r"\1 crossing the arms to say no"),
    (rf"^{PEOPLE} tipping hand$", r"\1 holding out a hand"),
    (rf"^{PEOPLE} raising hand$", r"\1 raising a hand"),
    (rf"^{PEOPLE} rowing boat$", r"\1 rowing a boat"),
    (rf"^{PEOPLE} bouncing ball$", r"\1 bouncing a ball"),
    (rf"^{PEOPLE} taking bath$", r"\1 taking a bath"),
    (rf"^{PEOPLE} getting (massage|haircut)$", r"\1 getting a \2"),
    (rf"^{PEOPLE} feeding baby$", r"\1 feeding a baby"),
    (rf"^{PEOPLE} in manual wheelchair\b", r"\1 in a wheelchair"),
    (r"^family with (.*)$", r"family of \1"),
    (r"^kiss with (.*)$", r"\1 kissing"),
    (r"^couple with heart with (.*)$", r"\1 with a heart between them"),
    (r"^(?:right|left)wards hand$", "open hand"),
    (r"^palm (up|down) hand$", r"hand with the palm \1"),
    (r"^(left|right)wards pushing hand$", r"hand pushing to the \1"),
    (r"^backhand index pointing (left|right|up|down)$", r"back of a hand pointing \1"),
    (r"^oncoming (bus|taxi|automobile|police car)$", r"\1 seen from the front"),
    (r"^magnifying glass tilted (?:left|right)$", "magnifying glass"),
    (r": facing right$", " facing right"),
    (rf"^man ({_ROLES})$", r"male \1"),
    (
        r"^flag of ((?:united|dominican|central african|netherlands|philippines|bahamas|maldives"
        r"|gambia|comoros|european union)\b.*|.* islands)$",
        r"flag of the \1",
    ),
]


def natural(name: str) -> str:
    """Says an everyday name as a caption would: mends labels, and adds articles inside."""
    if name in _BETTER:
        return _BETTER[name]
    for pattern, better in _PHRASES:
        name = re.sub(pattern, better, name)
    if re.match(r"family of|.*(kissing|between them)$", name):
        name = _list_people(name)
    return inner_articles(name)


def _list_people(name: str) -> str:
    """Turns `man, woman, boy` into `a man, a woman and a boy`."""
    match = re.match(r"(family of )?((?:\w+, )*\w+)( kissing| with a heart between them)?$", name)
    if match is None:
        return name
    people = [("an " if word == "adult" else "a ") + word for word in match[2].split(", ")]
    listed = " and ".join([", ".join(people[:-1]), people[-1]] if people[1:] else people)
    return (match[1] or "") + listed + (match[3] or "")


def without_false_colour(name: str, group: str, colors: tuple[tuple[str, float], ...]) -> str:
    """Takes the colour off a name like `red apple` where the picture has another one."""
    first, _, rest = name.partition(" ")
    seen = {word for colour, _ in colors for word in colour.split()}
    if group in COLOURED and first in COLOURS and rest and ALIASES.get(first, first) not in seen:
        return rest
    return name
