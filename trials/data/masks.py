"""Masks decoded from files or bytes: a class id for each pixel, 255 where a pixel does not count.

`data.media_columns` tries all masks with `try_mask`, `data.mask_targets` reads them with `read_mask`, and so does the
task. A format that changes pixels when it saves them is refused: a changed class id is another class.
"""

import contextlib
import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from luthier.studies.text import one_line
from luthier.trials.data.images import IMAGE_FORMATS, upright
from luthier.trials.data.media import Unreadable
from luthier.trials.memory import out_of_memory

IGNORED = 255
"""The class id of pixels that do not count, in training nor in scores."""
ORIENTATION, LYING = 0x0112, range(5, 9)  # EXIF's entry on how to turn an image, and what turns it on its side
MASK_FORMATS = ("PNG", "BMP", "GIF", "PPM", "TIFF")  # they keep each pixel as it is
_CURE = "save it as png with one channel that holds each pixel's class id: 0, 1, 2, and so on; 255 does not count"

Mask = NDArray[numpy.uint8]  # (height, width) class ids


def read_mask(item: Path | bytes, name: str) -> Mask:
    """Decode a mask, upright as its EXIF data says.

    Args:
        item: A file, or an encoded file's bytes.
        name: The item's name for error messages, from `media.named`.

    Raises:
        BadData: The item is no mask of `MASK_FORMATS`, is broken or too large, or holds colours or ids above 255.
        MemoryError: It does not fit in memory.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decoded(item)
        except Unreadable as error:
            raise error.bad_data(name) from None


def try_mask(item: Path | bytes) -> bool:
    """Decode a mask only to see whether it can be used; warnings are the caller's to ignore.

    Returns:
        True.

    Raises:
        Unreadable: `read_mask` cannot read it, or no pixel of it counts.
        MemoryError: It does not fit in memory.
    """
    if (decoded(item) == IGNORED).all():
        reason = f"holds {IGNORED} only, and such pixels do not count"
        raise Unreadable(reason, "write its pixels' class ids (a single class as 1, not as 255), or remove its row")
    return True


def decoded(item: Path | bytes, read: Callable[[Image.Image], Mask] | None = None) -> Mask:
    """Decode a mask, upright, without a name for messages.

    Args:
        item: A file, or an encoded file's bytes.
        read: (loaded image) -> its class ids; None: its pixels are the ids.

    Raises:
        Unreadable: It is no mask, as `read_mask` says.
    """
    try:
        with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=IMAGE_FORMATS) as image:
            if image.format not in MASK_FORMATS:
                reason = f"is {image.format}, which changes pixels when it is saved, and so class ids"
                raise Unreadable(reason, f"make it anew, and {_CURE}")
            width, height = image.size
            if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            image.load()
            return _ids(numpy.asarray(upright(image)), image.mode) if read is None else read(image)
    except Unreadable:
        raise
    except Image.DecompressionBombError:
        reason = f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
        raise Unreadable(reason, "scale it down with its image, or remove its row") from None
    except UnidentifiedImageError:
        raise Unreadable(f"is no mask that can be read ({', '.join(MASK_FORMATS)})", _CURE) from None
    except Exception as error:  # a broken file surfaces as whatever its format's decoder raises
        if out_of_memory(error):
            raise
        raise Unreadable(f"cannot be read as a mask ({one_line(error, 200)})") from None


def _ids(pixels: NDArray[Any], mode: str) -> Mask:
    """Return the class ids of a mask's pixels, (height, width). Raises Unreadable."""
    if mode in ("LA", "PA"):
        if (pixels[..., 1] != IGNORED).any():
            raise Unreadable("has transparent pixels", _CURE)
        pixels = pixels[..., 0]
    elif pixels.ndim == 3:  # grey saved as colours says what each pixel is
        if (pixels[..., :3] != pixels[..., :1]).any() or (pixels.shape[2] > 3 and (pixels[..., 3] != IGNORED).any()):
            reason = f"holds colours ({mode}), and nothing says which class a colour is"
            raise Unreadable(reason, f'name them in dataset.colours, as {{"#804080": 0}}, or {_CURE}')
        pixels = pixels[..., 0]
    if mode == "F":
        raise Unreadable("holds decimal numbers", _CURE)
    if int(pixels.max()) > IGNORED or int(pixels.min()) < 0:
        worst = int(pixels.max()) if int(pixels.max()) > IGNORED else int(pixels.min())
        reason = f"holds the id {worst}, and class ids go from 0 to {IGNORED - 1}"
        raise Unreadable(reason, f"number its classes anew: {_CURE}")
    return numpy.ascontiguousarray(pixels, dtype=numpy.uint8)


def image_size(item: Path | bytes) -> tuple[int, int] | None:
    """Return height and width of an upright image by its header; None for one that `images.read_image` refuses.

    Args:
        item: A file, or an encoded file's bytes.
    """
    turned = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=IMAGE_FORMATS) as image:
                width, height = image.size
                with contextlib.suppress(OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
                    turned = int(image.getexif().get(ORIENTATION, 0))
    except Exception:  # a broken file surfaces as whatever its format's decoder raises
        return None
    return (width, height) if turned in LYING else (height, width)
