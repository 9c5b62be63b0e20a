"""Images decoded from files or bytes, as upright RGB. No format that can run a program is opened.

The tasks of images read with it in `encode`. `data.media_columns` tries all files with it before.
"""

import contextlib
import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy
from PIL import Image, ImageOps, UnidentifiedImageError

from luthier.studies.text import one_line
from luthier.trials.data.foreign_media import what_else
from luthier.trials.data.media import Unreadable
from luthier.trials.memory import out_of_memory

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # EPS is missing: it runs a program
_ANIMATED = ("GIF", "PNG", "TIFF", "WEBP")
OPAQUE = 255
NARROWEST = 100  # times longer than wide; resized by its shorter side, a narrower image would grow without bounds


def read_image(item: Path | bytes, name: str) -> Image.Image:
    """Decode an image as upright RGB.

    An animation gives its first frame. Transparency is dropped, as `transformers.pipeline` does when the finished model
    is used. 16 bits a channel are scaled to 8.

    Args:
        item: A file, or an encoded file's bytes.
        name: The item's name for error messages, from `media.named`.

    Raises:
        BadData: The item is no image of `IMAGE_FORMATS`, is broken, too large, or too narrow.
        MemoryError: It does not fit in memory.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _decoded(item)
        except Unreadable as error:
            raise error.bad_data(name) from None


def try_image(item: Path | bytes) -> bool:
    """Decode an image only to see whether `read_image` can: at an eighth of its size where the format allows.

    Warnings are the caller's to ignore, because threads share their filters.

    Returns:
        Whether there is no transparent pixel in it.

    Raises:
        Unreadable: It cannot.
        MemoryError: The image does not fit in memory.
    """
    seen: list[bool] = []
    _decoded(item, seen)
    return not any(seen)


def is_animated(item: Path | bytes) -> bool:
    """Return whether an image that can be decoded has further frames or pages, which `read_image` does not show.

    What a camera stores behind a photograph (MPO: its preview, its depth) is none.
    """
    with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=IMAGE_FORMATS) as image:
        try:
            return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
        except (OSError, SyntaxError, ValueError, EOFError):  # a broken frame behind the first
            return True


def _decoded(item: Path | bytes, transparent: list[bool] | None = None) -> Image.Image:
    """Decode an image; `transparent` gets whether it has transparent pixels, and the image is then a small one."""
    try:
        with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=IMAGE_FORMATS) as image:
            width, height = image.size
            if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            if transparent is not None:
                image.draft("RGB", (1, 1))
            image.load()
            if transparent is not None and image.has_transparency_data:
                least: Any = image.convert("RGBA").getchannel("A").getextrema()[0]
                transparent.append(least < OPAQUE)
            decoded = _rgb(upright(image))
    except Image.DecompressionBombError:
        reason = f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
        raise Unreadable(reason, "scale it down, or remove its row") from None
    except UnidentifiedImageError:
        if known := what_else(item, "image"):
            raise Unreadable(*known) from None
        raise Unreadable(f"is no image that can be read ({', '.join(IMAGE_FORMATS)})") from None
    except Exception as error:  # a broken file surfaces as whatever its format's decoder raises
        if out_of_memory(error):
            raise
        raise Unreadable(f"cannot be read as an image ({one_line(error, 200)})") from None
    if max(width, height) > NARROWEST * min(width, height):
        reason = f"is {width} by {height} pixels, too narrow for an image"
        raise Unreadable(reason, "crop it, or remove its row")
    return decoded


def upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF data says; broken EXIF data is ignored."""
    with contextlib.suppress(OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return ImageOps.exif_transpose(image)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    """Return the image as RGB. Raises ValueError for pixels that are decimal numbers."""
    if image.mode == "F":
        raise ValueError("its pixels are decimal numbers; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # PIL's own conversion would clip all above 255
        values = numpy.asarray(image).clip(0, 65_535)
        wide = image.mode != "I" or values.max() > 255
        image = Image.fromarray((values >> 8 if wide else values).astype(numpy.uint8))
    return image.convert("RGB")
