"""Pictures that users have, and files that only pretend to be pictures."""

import io
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from unclip.errors import InputError
from unclip.pipeline.photos import MAX_SIDE_PX, fit_square, load, plain, read_photo, to_tensor


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height))
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def test_formats(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "c.webp"):
        gradient().save(tmp_path / name, quality=95)
        photo = read_photo(tmp_path / name)
        assert (photo.image.mode, photo.image.size) == ("RGB", (40, 24))
        assert len(photo.sha256) == 64
        error = np.abs(np.asarray(photo.image, np.int16) - np.asarray(gradient(), np.int16))
        assert error.mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    gradient().save(tmp_path / "a.png", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    found = read_photo(tmp_path / "a.png").image
    assert found.size == ((24, 40) if orientation > 4 else (40, 24))
    assert found.tobytes() == expected.tobytes()


def test_broken_exif_is_no_reason_to_refuse(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")
    assert read_photo(tmp_path / "a.jpg").image.size == (40, 24)


def test_see_through_pictures_lie_on_white(tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    rgba.putpixel((0, 0), (255, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 128))
    rgba.save(tmp_path / "rgba.png")
    rgba.save(tmp_path / "rgba.webp", lossless=True, exact=True)
    for name in ("rgba.png", "rgba.webp"):
        image = read_photo(tmp_path / name).image
        assert image.getpixel((0, 0)) == (255, 0, 0)
        assert image.getpixel((1, 0)) == (127, 127, 127)
        assert image.getpixel((3, 3)) == (255, 255, 255)

    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=1)
    image = read_photo(tmp_path / "p.png").image
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]

    Image.new("LA", (2, 2), (0, 0)).save(tmp_path / "la.png")
    assert read_photo(tmp_path / "la.png").image.getpixel((0, 0)) == (255, 255, 255)


def test_palettes_grey_and_one_bit(tmp_path: Path) -> None:
    gradient().quantize(16).save(tmp_path / "p.png")
    gradient().convert("L").save(tmp_path / "l.png")
    gradient().convert("1").save(tmp_path / "1.png")
    for name in ("p.png", "l.png", "1.png"):
        assert read_photo(tmp_path / name).image.mode == "RGB"


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    rows = b"\0" + values.astype(">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png(4, 1, 16, 0, rows))
    image = read_photo(tmp_path / "a.png").image
    assert [image.getpixel((x, 0)) for x in range(4)] == [(v,) * 3 for v in (0, 1, 128, 255)]

    # One grey may be the see-through one.
    see_through = chunk(b"tRNS", struct.pack(">H", 257))
    (tmp_path / "b.png").write_bytes(png(4, 1, 16, 0, rows, see_through))
    assert read_photo(tmp_path / "b.png").image.getpixel((1, 0)) == (255, 255, 255)


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    rows = b"\0" + np.array([65535, 32768, 0], ">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, rows))
    assert read_photo(tmp_path / "a.png").image.getpixel((0, 0)) == (255, 128, 0)


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    pixel = read_photo(tmp_path / "a.jpg").image.getpixel((4, 4))
    assert isinstance(pixel, tuple)
    assert np.abs(np.subtract(pixel, (255, 0, 0))).max() <= 3


def test_the_first_picture_of_a_phones_two(tmp_path: Path) -> None:
    depth = Image.new("RGB", (40, 24), "black")
    gradient().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[depth])
    assert read_photo(tmp_path / "a.jpg").image.getpixel((39, 23)) != (0, 0, 0)


def save_animation(path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_animations_are_refused(tmp_path: Path, name: str) -> None:
    save_animation(tmp_path / name)
    with pytest.raises(InputError, match="animation of 3 frames"):
        read_photo(tmp_path / name)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("<html>not found</html>")
    (tmp_path / "empty.png").touch()
    gradient().save(tmp_path / "tiff.png", "TIFF")
    gradient().save(tmp_path / "gif.png", "GIF")
    gradient().save(tmp_path / "ppm.png", "PPM")
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in {
        "folder.png": "is a folder",
        "text.png": "is no PNG, JPEG or WebP",
        "empty.png": "is no PNG, JPEG or WebP",
        "tiff.png": "is no PNG, JPEG or WebP",
        "gif.png": "is no PNG, JPEG or WebP",
        "ppm.png": "is no PNG, JPEG or WebP",
        "pipe.png": "no ordinary file",
        "missing.png": "No such file",
        "nul\0.png": "cannot read",
        "x" * 300: "cannot read",
    }.items():
        with pytest.raises(InputError, match=reason) as caught:
            read_photo(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [9000, 13000, 20000, 2**31 - 1])
def test_bombs_are_refused_by_their_header(tmp_path: Path, side: int) -> None:
    rows = zlib.compress(b"\0" * 1000)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    start = time.process_time()
    with pytest.raises(InputError, match="pixels"):
        read_photo(tmp_path / "bomb.png")
    assert time.process_time() - start < 0.1


def test_text_bomb(tmp_path: Path) -> None:
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 200_000_000))
    (tmp_path / "bomb.png").write_bytes(png(1, 1, 8, 2, b"\0\1\2\3", text))
    with pytest.raises(InputError, match="damaged"):
        read_photo(tmp_path / "bomb.png")


def encoded(format_: str) -> bytes:
    buffer = io.BytesIO()
    gradient(64, 48).save(buffer, format_)
    return buffer.getvalue()


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_cut_off_anywhere(tmp_path: Path, format_: str) -> None:
    content = encoded(format_)
    for sixteenth in range(15):
        (tmp_path / "a").write_bytes(content[: len(content) * sixteenth // 16])
        with pytest.raises(InputError):
            read_photo(tmp_path / "a")


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_damaged_anywhere(tmp_path: Path, format_: str) -> None:
    """Either a picture or one clear error, never another exception."""
    content, chance = encoded(format_), random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (tmp_path / "a").write_bytes(bytes(damaged))
        with suppress(InputError):
            read_photo(tmp_path / "a")


def test_fit() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("red", (0, 0, 10, 20))
    assert fit_square(image, "crop").size == (20, 20)
    assert fit_square(image, "crop").getpixel((0, 0)) == (0, 0, 0)
    padded = fit_square(image, "pad")
    assert padded.size == (40, 40)
    assert [padded.getpixel((0, y)) for y in (0, 20)] == [(255, 255, 255), (255, 0, 0)]
    assert fit_square(image, "stretch").size == (40, 40)
    with pytest.raises(InputError, match="crop, pad or stretch"):
        fit_square(image, "zoom")


@pytest.mark.parametrize("size", [(5000, 30), (1, 40_000), (3000, 3000)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_odd_shapes_stay_small(size: tuple[int, int], fit: str) -> None:
    image = fit_square(Image.new("RGB", size), fit)
    assert image.width == image.height
    assert 1 <= image.width <= MAX_SIDE_PX


def test_values(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 2), (0, 255, 51))
    values = to_tensor(image)
    assert values[0, :, 0, 0].tolist() == pytest.approx([-1, 1, -0.6])
    image.save(tmp_path / "a.png")
    assert torch.equal(load(tmp_path / "a.png", "crop"), values)
    assert torch.equal(load(str(tmp_path / "a.png"), "crop"), values)
    assert torch.equal(load(image, "pad"), values)
    assert load(values, "crop") is values
    for wrong in (values[0], values * 2, values / 0):
        with pytest.raises(InputError, match="tensor"):
            load(wrong, "crop")


def test_pil_pictures_are_treated_as_files_are() -> None:
    assert plain(Image.new("RGBA", (2, 2), (9, 9, 9, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert plain(Image.new("I;16", (2, 2), 65535)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "name"), [("RGB", "a.jpg"), ("I;16", "a.png"), ("RGBA", "a.png")])
def test_a_large_photo_needs_little_memory(tmp_path: Path, mode: str, name: str) -> None:
    """A 24-megapixel photo in at most 400 MB over the interpreter's own."""
    Image.new(mode, (6000, 4000)).save(tmp_path / name)
    code = (
        "import resource, sys; from unclip.pipeline.photos import read_photo, fit_square\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); fit_square(read_photo(sys.argv[1]).image, 'crop')\n"
        "assert peak() - before < 400_000, peak() - before"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
