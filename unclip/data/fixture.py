"""Picks the illustrations that ship with the package, and writes them with their licences.

They come from the npm package @iconify/json (version in `ICONIFY_VERSION`), fetched by the ordinary
client, and are drawings of Noto Emoji (Google, Apache-2.0) and Fluent Emoji (Microsoft, MIT).

    npm install --ignore-scripts @iconify/json@2.2.535
    python -m unclip.data.fixture --packages node_modules
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from unclip.data.illustrations import FOLDER
from unclip.errors import DataError, run_command

ICONIFY_VERSION = "2.2.535"

SOURCES = {
    "noto": {
        "style": "cartoon",
        "licence": "Apache-2.0",
        "author": "Google Inc",
        "url": "https://github.com/googlefonts/noto-emoji",
    },
    "fluent-emoji-flat": {
        "style": "flat illustration",
        "licence": "MIT",
        "author": "Microsoft Corporation",
        "url": "https://github.com/microsoft/fluentui-emoji",
    },
}

# What it is called: the drawing's name in the package.
THINGS = {
    "apple": "red-apple",
    "car": "automobile",
    "house": "house",
    "tree": "deciduous-tree",
    "tulip": "tulip",
    "rose": "rose",
    "sunflower": "sunflower",
    "fish": "fish",
    "bird": "bird",
    "cat": "cat",
    "dog": "dog",
    "horse": "horse",
    "elephant": "elephant",
    "camel": "camel",
    "penguin": "penguin",
    "whale": "spouting-whale",
    "turtle": "turtle",
    "astronaut": "astronaut",
    "robot": "robot",
    "rocket": "rocket",
    "sailboat": "sailboat",
    "balloon": "balloon",
    "heart": "red-heart",
    "star": "star",
    "sun": "sun",
    "moon": "crescent-moon",
    "umbrella": "umbrella",
    "top hat": "top-hat",
    "mushroom": "mushroom",
    "butterfly": "butterfly",
    "cup": "teacup-without-handle",
    "book": "closed-book",
    "key": "key",
    "guitar": "guitar",
    "cake": "birthday-cake",
    "crown": "crown",
}


def pick(packages: Path, out: Path) -> int:
    """Writes one SVG for each thing and source, and `index.json`; returns the bytes written."""
    entries, total = [], 0
    for source in SOURCES:
        icons = _read_set(packages, source)
        for thing, name in THINGS.items():
            if name not in icons["icons"]:
                raise DataError(
                    f"{source} has no drawing {name!r}: install @iconify/json@{ICONIFY_VERSION}"
                )
            svg = _svg(icons, name)
            file = f"{source}/{thing.replace(' ', '-')}.svg"
            path = out / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg, encoding="utf-8")
            entries.append({"file": file, "thing": thing, "source": source})
            total += len(svg.encode())
    index = {"package": f"@iconify/json@{ICONIFY_VERSION}", "sources": SOURCES, "drawings": entries}
    (out / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return total


def _read_set(packages: Path, source: str) -> dict:
    path = packages / "@iconify" / "json" / "json" / f"{source}.json"
    if not path.is_file():
        raise DataError(
            f"{path} is missing: run npm install --ignore-scripts @iconify/json@{ICONIFY_VERSION} "
            "and pass its node_modules as --packages"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _svg(icons: dict, name: str) -> str:
    """Wraps a drawing's body; coordinates keep two decimals, which is below a pixel at 1024."""
    icon = icons["icons"][name]
    left, top = icon.get("left", 0), icon.get("top", 0)
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    body = re.sub(r"(\.\d\d)\d+", r"\1", icon["body"])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{body}</svg>\n'
    )


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m unclip.data.fixture", description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="the node_modules folder")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the drawings are written")
    options = parser.parse_args(argv)

    def work() -> str:
        total = pick(options.packages, options.out)
        return f"{len(THINGS) * len(SOURCES)} drawings, {total / 1000:.0f} kB, in {options.out}"

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
