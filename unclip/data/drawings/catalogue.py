"""The table of sources, and choosing among them."""

from unclip.data.drawings.packages import FLUENT_3D, OPENCLIPART, OPENMOJI, TUXPAINT
from unclip.data.drawings.sources import Source
from unclip.errors import ConfigError

STREAMLINE = "https://github.com/webalys-hq/streamline-vectors"
NOTO = "https://github.com/googlefonts/noto-emoji"
FLUENT = "https://github.com/microsoft/fluentui-emoji"
PHOSPHOR = "https://github.com/phosphor-icons/core"
EMOJITWO = "https://github.com/EmojiTwo/emojitwo"
HFG = "HfG Schwäbisch Gmünd and contributors"
GAME_ICONS_AUTHORS = (
    "icons made by Lorc, Delapouite, John Colburn, Felbrigg, John Redman, Carl Olsen, Sbed, "
    "PriorBlue, Willdabeast, Viscious Speed, Lord Berandas, Irongamer, HeavenlyDog and others"
)

_ALL = (
    Source(
        name="noto",
        title="Noto Emoji",
        author="Google",
        link=NOTO,
        licence="Apache-2.0",
        styles=("cartoon emoji", "colorful emoji illustration", "emoji with soft shading"),
        part="noto",
    ),
    Source(
        name="noto-v1",
        title="Noto Emoji 1 (blobs)",
        author="Google",
        link=NOTO,
        licence="Apache-2.0",
        styles=("blob-style cartoon emoji", "cute cartoon emoji"),
        part="noto-v1",
    ),
    Source(
        name="fluent-emoji",
        title="Fluent Emoji",
        author="Microsoft",
        link=FLUENT,
        licence="MIT",
        styles=(
            "glossy emoji with gradients",
            "smooth shaded vector illustration",
            "colorful gradient illustration",
        ),
        part="fluent-emoji",
    ),
    Source(
        name="fluent-flat",
        title="Fluent Emoji Flat",
        author="Microsoft",
        link=FLUENT,
        licence="MIT",
        styles=("flat vector emoji", "flat illustration", "simple flat design"),
        part="fluent-emoji-flat",
    ),
    Source(
        name="fluent-hc",
        title="Fluent Emoji High Contrast",
        author="Microsoft",
        link=FLUENT,
        licence="MIT",
        styles=("black and white icon", "high contrast black icon", "black ink drawing"),
        part="fluent-emoji-high-contrast",
        one_ink=True,
    ),
    Source(
        name="fluent-3d",
        title="Fluent Emoji 3D",
        author="Microsoft, packaged by LobeHub",
        link=FLUENT,
        licence="MIT",
        styles=("3D render", "3D emoji", "glossy 3D render"),
        package=FLUENT_3D,
        layout="fluent_3d",
        part="assets",
    ),
    Source(
        name="fxemoji",
        title="FxEmojis",
        author="Mozilla",
        link="https://github.com/mozilla/fxemoji",
        licence="Apache-2.0",
        styles=("flat vector emoji", "bold flat illustration"),
        part="fxemoji",
    ),
    Source(
        name="meteocons",
        title="Meteocons",
        author="Bas Milius",
        link="https://github.com/basmilius/weather-icons",
        licence="MIT",
        styles=("weather icon", "colorful weather illustration"),
        part="meteocons",
    ),
    Source(
        name="flat-color",
        title="Flat Color Icons",
        author="Icons8",
        link="https://github.com/icons8/flat-Color-icons",
        licence="MIT",
        styles=("flat color icon", "simple flat icon"),
        part="flat-color-icons",
        things_only=True,
    ),
    Source(
        name="circle-flags",
        title="Circle Flags",
        author="HatScripts",
        link="https://github.com/HatScripts/circle-flags",
        licence="MIT",
        styles=("round flag icon",),
        part="circle-flags",
    ),
    Source(
        name="twemoji",
        title="Twemoji",
        author="Twitter, Inc and other contributors",
        link="https://github.com/jdecked/twemoji",
        licence="CC-BY-4.0",
        styles=("flat vector emoji", "flat illustration", "flat cartoon emoji"),
        part="twemoji",
    ),
    Source(
        name="emojione",
        title="EmojiOne 2",
        author="Emoji One",
        link=EMOJITWO,
        licence="CC-BY-4.0",
        styles=("flat emoji", "flat cartoon emoji"),
        part="emojione",
    ),
    Source(
        name="emojione-mono",
        title="EmojiOne 2 Monotone",
        author="Emoji One",
        link=EMOJITWO,
        licence="CC-BY-4.0",
        styles=("black line icon", "black and white drawing", "black outline icon"),
        part="emojione-monotone",
        one_ink=True,
    ),
    Source(
        name="streamline-emojis",
        title="Streamline Emojis",
        author="Streamline",
        link=STREAMLINE,
        licence="CC-BY-4.0",
        styles=(
            "cute emoji with thick outlines",
            "cartoon with bold outlines",
            "bold outlined cartoon",
        ),
        part="streamline-emojis",
    ),
    Source(
        name="freehand",
        title="Streamline Freehand (colour)",
        author="Streamline",
        link=STREAMLINE,
        licence="CC-BY-4.0",
        styles=("hand-drawn sketch", "freehand pen sketch", "hand-drawn doodle with a blue accent"),
        part="streamline-freehand-color",
        things_only=True,
    ),
    Source(
        name="ultimate",
        title="Streamline Ultimate (colour)",
        author="Streamline",
        link=STREAMLINE,
        licence="CC-BY-4.0",
        styles=("colored line icon", "line icon with flat colors"),
        part="streamline-ultimate-color",
        things_only=True,
    ),
    Source(
        name="game-icons",
        title="Game-icons.net",
        author="Lorc, Delapouite and contributors",
        link="https://github.com/game-icons/icons",
        licence="CC-BY-3.0",
        styles=("black silhouette icon", "black stencil art", "bold black and white drawing"),
        part="game-icons",
        one_ink=True,
        credits=GAME_ICONS_AUTHORS,
    ),
    Source(
        name="openmoji",
        title="OpenMoji",
        author=HFG,
        link="https://openmoji.org",
        licence="CC-BY-SA-4.0",
        styles=(
            "colored drawing with black outlines",
            "comic-style illustration with outlines",
            "coloring-book style color drawing",
        ),
        package=OPENMOJI,
        layout="openmoji",
        part="color",
    ),
    Source(
        name="openmoji-black",
        title="OpenMoji (black)",
        author=HFG,
        link="https://openmoji.org",
        licence="CC-BY-SA-4.0",
        styles=("black line drawing", "outline drawing", "line art", "simple pen drawing"),
        package=OPENMOJI,
        layout="openmoji",
        part="black",
        one_ink=True,
    ),
    Source(
        name="emojione-v1",
        title="EmojiOne 1",
        author="Emoji One",
        link="https://github.com/joypixels/emojione-legacy",
        licence="CC-BY-SA-4.0",
        styles=("shaded cartoon emoji", "colorful cartoon emoji"),
        part="emojione-v1",
    ),
    Source(
        name="freehand-ink",
        title="Streamline Freehand",
        author="Streamline",
        link=STREAMLINE,
        licence="CC-BY-4.0",
        styles=(
            "hand-drawn ink sketch",
            "black pen doodle",
            "rough pencil sketch",
            "hand-drawn pencil doodle",
        ),
        part="streamline-freehand",
        things_only=True,
        one_ink=True,
    ),
    Source(
        name="kameleon",
        title="Streamline Kameleon (colour)",
        author="Streamline",
        link=STREAMLINE,
        licence="CC-BY-4.0",
        styles=("round flat icon on a colored circle", "flat badge illustration"),
        part="streamline-kameleon-color",
        things_only=True,
    ),
    Source(
        name="stickies",
        title="Streamline Stickies (colour)",
        author="Streamline",
        link=STREAMLINE,
        licence="CC-BY-4.0",
        styles=("sticker illustration with bold colors", "comic sticker"),
        part="streamline-stickies-color",
        things_only=True,
    ),
    Source(
        name="plump",
        title="Streamline Plump (colour)",
        author="Streamline",
        link=STREAMLINE,
        licence="CC-BY-4.0",
        styles=("blue rounded flat icon", "plump blue icon"),
        part="streamline-plump-color",
        things_only=True,
    ),
    Source(
        name="pixel-art",
        title="Streamline Pixel",
        author="Streamline",
        link=STREAMLINE,
        licence="CC-BY-4.0",
        styles=("pixel art", "black and white pixel art", "8-bit pixel icon"),
        part="streamline-pixel",
        things_only=True,
        one_ink=True,
    ),
    Source(
        name="icon-park",
        title="IconPark",
        author="ByteDance",
        link="https://github.com/bytedance/IconPark",
        licence="Apache-2.0",
        styles=("two-color line icon", "blue line icon with black outlines"),
        part="icon-park",
        things_only=True,
    ),
    Source(
        name="phosphor-line",
        title="Phosphor Icons (light)",
        author="Phosphor Icons",
        link=PHOSPHOR,
        licence="MIT",
        styles=("thin black line drawing", "minimal line icon", "outline icon"),
        part="ph",
        ending="-light",
        things_only=True,
        one_ink=True,
    ),
    Source(
        name="phosphor-fill",
        title="Phosphor Icons (fill)",
        author="Phosphor Icons",
        link=PHOSPHOR,
        licence="MIT",
        styles=("solid black silhouette", "black glyph icon"),
        part="ph",
        ending="-fill",
        things_only=True,
        one_ink=True,
    ),
    Source(
        name="openclipart",
        title="Open Clip Art Library 0.18",
        author="the artists of the library",
        link="https://openclipart.org",
        licence="CC-PDDC",
        styles=("clip art", "vector clip art"),
        package=OPENCLIPART,
        layout="openclipart",
        part="usr/share/openclipart/svg",
    ),
    Source(
        name="tuxpaint",
        title="Tux Paint stamps",
        author="Bill Kendrick and contributors",
        link="https://tuxpaint.org",
        licence="GPL-2.0-or-later",
        styles=("photo", "cut-out photo on a white background"),
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
