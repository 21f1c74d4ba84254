"""The sources of drawings: package, licence, author, tier and look of each."""

from dataclasses import dataclass
from typing import Literal

from unclip.data.drawings.packages import (
    FLUENT_3D,
    ICONIFY,
    NAMES,
    OPENCLIPART,
    OPENMOJI,
    TUXPAINT,
    Package,
)
from unclip.errors import ConfigError

Layout = Literal["iconify", "openmoji", "fluent_3d", "openclipart", "tuxpaint"]
"""How the package is read: the adapter module of that name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One hand, one look."""

    name: str
    title: str
    author: str
    link: str
    """Where the work is at home."""
    licence: str
    """SPDX identifier."""
    tier: str
    styles: tuple[str, ...]
    """Phrases that are true of every drawing."""
    package: Package = ICONIFY
    layout: Layout = "iconify"
    part: str = ""
    """The set in @iconify/json, or the folder of the package."""
    things_only: bool = False
    """Interface icons: only those that are named after a thing are taken."""
    credits: str = ""
    """Whom its licence asks to name, beyond the author."""
    ending: str = ""
    """Only icons whose name ends so."""
    one_ink: bool = False
    """Black only: a name with a colour in it would be false."""

    @property
    def attribution(self) -> str:
        """Title and author, as each record carries them."""
        return f"{self.title}, {self.author}"

    @property
    def packages(self) -> tuple[Package, ...]:
        """All that must be fetched to build it."""
        return (*NAMES, self.package)


STREAMLINE = "https://github.com/webalys-hq/streamline-vectors"
NOTO = "https://github.com/googlefonts/noto-emoji"
FLUENT = "https://github.com/microsoft/fluentui-emoji"
PHOSPHOR = "https://github.com/phosphor-icons/core"
EMOJITWO = "https://github.com/EmojiTwo/emojitwo"
HFG = "HfG Schwäbisch Gmünd and contributors"


def _source(
    name: str, title: str, author: str, link: str, licence: str, styles: str, **other: object
) -> Source:
    """Makes a source; its tier follows from the licence, its styles are joined by `;`."""
    tier = TIER_OF[licence]
    phrases = tuple(style.strip() for style in styles.split(";"))
    return Source(
        name=name,
        title=title,
        author=author,
        link=link,
        licence=licence,
        tier=tier,
        styles=phrases,
        **other,  # pyright: ignore[reportArgumentType]  the dataclass knows them
    )


TIER_OF = {
    "Apache-2.0": "A",
    "MIT": "A",
    "CC-PDDC": "A",
    "CC-BY-3.0": "B",
    "CC-BY-4.0": "B",
    "CC-BY-SA-4.0": "C",
    "GPL-2.0-or-later": "C",
}

_ALL = (
    _source(
        *("noto", "Noto Emoji", "Google", NOTO, "Apache-2.0"),
        "cartoon emoji; colorful emoji illustration; emoji with soft shading",
        part="noto",
    ),
    _source(
        *("noto-v1", "Noto Emoji 1 (blobs)", "Google", NOTO, "Apache-2.0"),
        "blob-style cartoon emoji; cute cartoon emoji",
        part="noto-v1",
    ),
    _source(
        *("fluent-emoji", "Fluent Emoji", "Microsoft", FLUENT, "MIT"),
        "glossy emoji with gradients; smooth shaded vector illustration; "
        "colorful gradient illustration",
        part="fluent-emoji",
    ),
    _source(
        *("fluent-flat", "Fluent Emoji Flat", "Microsoft", FLUENT, "MIT"),
        "flat vector emoji; flat illustration; simple flat design",
        part="fluent-emoji-flat",
    ),
    _source(
        *("fluent-hc", "Fluent Emoji High Contrast", "Microsoft", FLUENT, "MIT"),
        "black and white icon; high contrast black icon; black ink drawing",
        part="fluent-emoji-high-contrast",
        one_ink=True,
    ),
    _source(
        *("fluent-3d", "Fluent Emoji 3D", "Microsoft, packaged by LobeHub", FLUENT, "MIT"),
        "3D render; 3D emoji; glossy 3D render",
        package=FLUENT_3D,
        layout="fluent_3d",
        part="assets",
    ),
    _source(
        *("fxemoji", "FxEmojis", "Mozilla", "https://github.com/mozilla/fxemoji", "Apache-2.0"),
        "flat vector emoji; bold flat illustration",
        part="fxemoji",
    ),
    _source(
        *("meteocons", "Meteocons", "Bas Milius", "https://github.com/basmilius/weather-icons"),
        *("MIT", "weather icon; colorful weather illustration"),
        part="meteocons",
    ),
    _source(
        *("flat-color", "Flat Color Icons", "Icons8"),
        *("https://github.com/icons8/flat-Color-icons", "MIT"),
        "flat color icon; simple flat icon",
        part="flat-color-icons",
        things_only=True,
    ),
    _source(
        *("circle-flags", "Circle Flags", "HatScripts"),
        *("https://github.com/HatScripts/circle-flags", "MIT", "round flag icon"),
        part="circle-flags",
    ),
    _source(
        *("twemoji", "Twemoji", "Twitter, Inc and other contributors"),
        *("https://github.com/jdecked/twemoji", "CC-BY-4.0"),
        "flat vector emoji; flat illustration; flat cartoon emoji",
        part="twemoji",
    ),
    _source(
        *("emojione", "EmojiOne 2", "Emoji One", EMOJITWO, "CC-BY-4.0"),
        "flat emoji; flat cartoon emoji",
        part="emojione",
    ),
    _source(
        *("emojione-mono", "EmojiOne 2 Monotone", "Emoji One", EMOJITWO, "CC-BY-4.0"),
        "black line icon; black and white drawing; black outline icon",
        part="emojione-monotone",
        one_ink=True,
    ),
    _source(
        *("streamline-emojis", "Streamline Emojis", "Streamline", STREAMLINE, "CC-BY-4.0"),
        "cute emoji with thick outlines; cartoon with bold outlines; bold outlined cartoon",
        part="streamline-emojis",
    ),
    _source(
        *("freehand", "Streamline Freehand (colour)", "Streamline", STREAMLINE, "CC-BY-4.0"),
        "hand-drawn sketch; freehand pen sketch; hand-drawn doodle with a blue accent",
        part="streamline-freehand-color",
        things_only=True,
    ),
    _source(
        *("ultimate", "Streamline Ultimate (colour)", "Streamline", STREAMLINE, "CC-BY-4.0"),
        "colored line icon; line icon with flat colors",
        part="streamline-ultimate-color",
        things_only=True,
    ),
    _source(
        *("game-icons", "Game-icons.net", "Lorc, Delapouite and contributors"),
        *("https://github.com/game-icons/icons", "CC-BY-3.0"),
        "black silhouette icon; black stencil art; bold black and white drawing",
        part="game-icons",
        credits="icons made by Lorc, Delapouite, John Colburn, Felbrigg, John Redman, Carl Olsen, "
        "Sbed, PriorBlue, Willdabeast, Viscious Speed, Lord Berandas, Irongamer, HeavenlyDog and "
        "others",
        one_ink=True,
    ),
    _source(
        *("openmoji", "OpenMoji", HFG, "https://openmoji.org", "CC-BY-SA-4.0"),
        "colored drawing with black outlines; comic-style illustration with outlines; "
        "coloring-book style color drawing",
        package=OPENMOJI,
        layout="openmoji",
        part="color",
    ),
    _source(
        *("openmoji-black", "OpenMoji (black)", HFG, "https://openmoji.org", "CC-BY-SA-4.0"),
        "black line drawing; outline drawing; line art; simple pen drawing",
        package=OPENMOJI,
        layout="openmoji",
        part="black",
        one_ink=True,
    ),
    _source(
        *("emojione-v1", "EmojiOne 1", "Emoji One"),
        *("https://github.com/joypixels/emojione-legacy", "CC-BY-SA-4.0"),
        "shaded cartoon emoji; colorful cartoon emoji",
        part="emojione-v1",
    ),
    _source(
        *("freehand-ink", "Streamline Freehand", "Streamline", STREAMLINE, "CC-BY-4.0"),
        "hand-drawn ink sketch; black pen doodle; rough pencil sketch; hand-drawn pencil doodle",
        part="streamline-freehand",
        things_only=True,
        one_ink=True,
    ),
    _source(
        *("kameleon", "Streamline Kameleon (colour)", "Streamline", STREAMLINE, "CC-BY-4.0"),
        "round flat icon on a colored circle; flat badge illustration",
        part="streamline-kameleon-color",
        things_only=True,
    ),
    _source(
        *("stickies", "Streamline Stickies (colour)", "Streamline", STREAMLINE, "CC-BY-4.0"),
        "sticker illustration with bold colors; comic sticker",
        part="streamline-stickies-color",
        things_only=True,
    ),
    _source(
        *("plump", "Streamline Plump (colour)", "Streamline", STREAMLINE, "CC-BY-4.0"),
        "blue rounded flat icon; plump blue icon",
        part="streamline-plump-color",
        things_only=True,
    ),
    _source(
        *("pixel-art", "Streamline Pixel", "Streamline", STREAMLINE, "CC-BY-4.0"),
        "pixel art; black and white pixel art; 8-bit pixel icon",
        part="streamline-pixel",
        things_only=True,
        one_ink=True,
    ),
    _source(
        *("icon-park", "IconPark", "ByteDance", "https://github.com/bytedance/IconPark"),
        *("Apache-2.0", "two-color line icon; blue line icon with black outlines"),
        part="icon-park",
        things_only=True,
    ),
    _source(
        *("phosphor-line", "Phosphor Icons (light)", "Phosphor Icons", PHOSPHOR, "MIT"),
        "thin black line drawing; minimal line icon; outline icon",
        part="ph",
        things_only=True,
        ending="-light",
        one_ink=True,
    ),
    _source(
        *("phosphor-fill", "Phosphor Icons (fill)", "Phosphor Icons", PHOSPHOR, "MIT"),
        "solid black silhouette; black glyph icon",
        part="ph",
        things_only=True,
        ending="-fill",
        one_ink=True,
    ),
    _source(
        *("openclipart", "Open Clip Art Library 0.18", "the artists of the library"),
        *("https://openclipart.org", "CC-PDDC", "clip art; vector clip art"),
        package=OPENCLIPART,
        layout="openclipart",
        part="usr/share/openclipart/svg",
    ),
    _source(
        *("tuxpaint", "Tux Paint stamps", "Bill Kendrick and contributors"),
        *("https://tuxpaint.org", "GPL-2.0-or-later"),
        "photo; cut-out photo on a white background",
        package=TUXPAINT,
        layout="tuxpaint",
        part="usr/share/tuxpaint/stamps",
    ),
)
SOURCES = {source.name: source for source in _ALL}


def choose(tiers: str, names: list[str]) -> list[Source]:
    """Lists the sources of some tiers, or those of them that are named.

    Raises:
        ConfigError: an unknown tier or source, or a source of another tier.
    """
    tiers = tiers.upper()
    if not tiers or not set(tiers) <= {"A", "B", "C"}:
        raise ConfigError(f"--tiers {tiers or repr(tiers)}: expected some of A, B and C, like AB")
    for name in names:
        if name not in SOURCES:
            raise ConfigError(f"there is no source {name}: choose among {', '.join(SOURCES)}")
        if SOURCES[name].tier not in tiers:
            tier = SOURCES[name].tier
            raise ConfigError(
                f"the source {name} is of tier {tier}, not among --tiers {tiers}: pass "
                f"--tiers {tiers}{tier} (shipped weights are trained on A and B only)"
            )
    return [s for s in _ALL if s.tier in tiers and (not names or s.name in names)]
