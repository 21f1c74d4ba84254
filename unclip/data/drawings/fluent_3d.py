"""The npm package @lobehub/fluent-emoji-3d: rendered emoji, 256 px WebP with alpha."""

from collections.abc import Iterator
from pathlib import Path

from unclip.data.drawings.files import folder_of
from unclip.data.drawings.names import EmojiNames
from unclip.data.drawings.originals import Original, of_emoji
from unclip.data.drawings.packages import FLUENT_3D
from unclip.data.drawings.sources import Source


def read(source: Source, cache: Path, names: EmojiNames) -> Iterator[Original]:
    """Lists the pictures; those that are no emoji of Unicode are left out.

    Raises:
        DataError: the package is incomplete.
    """
    folder = folder_of(FLUENT_3D.folder(cache) / source.part, remedy=FLUENT_3D.root(cache))
    for path in sorted(folder.glob("*.webp")):
        emoji = names.by_hexcode(path.stem)
        if emoji is None:
            continue
        yield of_emoji(source, path.stem, emoji, bitmap=path)
