"""Text in PNG files: our record as JSON (iTXt `unclip`), and `parameters`, which other tools read.

`parameters` is the form that AUTOMATIC1111's web UI made common: the prompt, then settings.
"""

import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, PngImagePlugin

from unclip.config import from_dict, to_dict
from unclip.errors import ConfigError, InputError
from unclip.provenance.record import SCHEMA, ModelRecord, PictureRecord

FORMATS = ("PNG", "JPEG", "WEBP")
KEY = "unclip"
PARAMETERS = "parameters"
MAX_RECORD_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class PictureText:
    """What a picture file says of itself."""

    format: str
    width: int
    height: int
    record: PictureRecord | None
    """Ours; None where there is none."""
    parameters: str | None


def encode_png(image: Image.Image, record: PictureRecord | None) -> bytes:
    """Returns the picture as a PNG file, with its record in it."""
    text = PngImagePlugin.PngInfo()
    if record is not None:
        text.add_itxt(KEY, json.dumps(to_dict(record), ensure_ascii=False))
        # NUL would end the text.
        text.add_text(PARAMETERS, parameters(record).replace("\0", " "))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def parameters(record: PictureRecord) -> str:
    """Writes a record as the line that viewers and catalogues of generated pictures read."""
    sampling, model = record.sampling, record.model
    fields = {
        "Steps": sampling.decoder_steps,
        "Sampler": sampling.sampler,
        "CFG scale": f"{sampling.decoder_guidance:g}",
        "Seed": record.seed,
        "Size": f"{sampling.size}x{sampling.size}",
        "Model hash": model.hash,
        "Model": model.name.replace(",", " "),
        "Lora hashes": _loras(model),
        "Prior steps": sampling.prior_steps,
        "Version": f"unclip {record.version}",
    }
    settings = ", ".join(f"{name}: {value}" for name, value in fields.items() if value is not None)
    return f"{record.prompt}\n{settings}" if record.prompt else settings


def _loras(model: ModelRecord) -> str | None:
    """As the web UI writes them, in quotes."""
    names = [f"{lora.name}: {lora.hash}".replace('"', " ") for lora in model.loras]
    return f'"{", ".join(names)}"' if names else None


def read_picture_text(path: str | Path) -> PictureText:
    """Reads what a PNG, JPEG or WebP file says of itself; no pixel is decoded.

    Raises:
        InputError: it is missing, no picture, or its record is damaged or of a later version.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a size that is only told here
            with Image.open(path, formats=FORMATS) as image:
                # Not `image.text`, which decodes the picture to find text behind the pixels.
                text = image.info if image.format == "PNG" else {}
                raw, line = text.get(KEY), text.get(PARAMETERS)
                form, (width, height) = str(image.format), image.size
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{path} is no PNG, JPEG or WebP picture") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'it is damaged'}") from error
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is damaged, or holds too much text or too many pixels") from error
    record = None if raw is None else _parse(str(raw), path)
    return PictureText(form, width, height, record, None if line is None else str(line))


def read_record(path: str | Path) -> PictureRecord:
    """Reads the record of a picture that unclip made.

    Raises:
        InputError: as `read_picture_text`, or there is no record.
    """
    record = read_picture_text(path).record
    if record is None:
        raise InputError(
            f"{path} holds no unclip record: it was made by another program, or saved again by one "
            "that drops PNG text"
        )
    return record


def _parse(raw: str, path: Path) -> PictureRecord:
    try:
        if len(raw) > MAX_RECORD_CHARACTERS:
            raise ValueError("too long")
        data = json.loads(raw)
        schema = data["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} holds an unclip record that is damaged") from error
    if isinstance(schema, int) and schema > SCHEMA:
        raise InputError(
            f"{path} holds a record of schema {schema}, this unclip reads up to {SCHEMA}: update it"
        )
    try:
        return from_dict(PictureRecord, data, f"{path}: record")
    except ConfigError as error:
        raise InputError(str(error)) from error
