"""Images and sounds decoded from files or bytes: images as RGB, sounds as a single channel.

The tasks of images and sounds read with these functions in `encode`; each unusable file is a BadData whose sentence
names the file and the cure. `data.media_columns` tries all files with them before. No format that can run a program is
opened.
"""

import contextlib
import io
import math
import struct
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
from PIL import Image, ImageOps, UnidentifiedImageError

from luthier.studies.text import one_line
from luthier.trials.data.foreign_media import what_else
from luthier.trials.data.sound_lengths import decoded_shortfall, shortfall
from luthier.trials.errors import Away, BadData
from luthier.trials.memory import out_of_memory

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # EPS is missing: it runs a program
RESAMPLING_SECONDS = 0.05  # read beyond the end of the part of a sound that is returned
LEAST_RATE, MOST_RATE = 1_000, 768_000  # samples a second; a header may claim anything
FINEST = 2_000  # terms of a resampling ratio: a rate is met to a ten-thousandth and better
TRIED_SECONDS = 120  # of a sound are decoded to try it; its header and its last sample tell about the rest
BLOCK = 1 << 18  # samples that are decoded at a time
_CURE = "repair it, or remove its row"
OPAQUE = 255
NARROWEST = 100  # times longer than wide; resized by its shorter side, a narrower image would grow without bounds


def named(item: Path | bytes, row: int, kind: str) -> str:
    """Return the name of a column's item in an error message, such as "The image of example 3"."""
    return str(item) if isinstance(item, Path) else f"The {kind} of example {row + 1}"


class Unreadable(Exception):
    """An image or a sound that cannot be used; the text is the end of a sentence, `cure` what to do."""

    def __init__(self, reason: str, cure: str = _CURE) -> None:
        super().__init__(reason)
        self.cure = cure

    def bad_data(self, name: str) -> BadData:
        """Return the whole sentence as an error."""
        return Away(f"{name} {self}; {self.cure}.", "dataset", "source")


def read_image(item: Path | bytes, name: str) -> Image.Image:
    """Decode an image as upright RGB.

    An animation gives its first frame. Transparency is dropped, as `transformers.pipeline` does when the finished model
    is used. 16 bits a channel are scaled to 8.

    Args:
        item: A file, or an encoded file's bytes.
        name: The item's name for error messages, from `named`.

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


def read_audio(item: Path | bytes, name: str, rate: int, seconds: float) -> numpy.ndarray:
    """Decode the start of a sound, all channels mixed to one.

    Args:
        item: A file, or an encoded file's bytes.
        name: The item's name for error messages, from `named`.
        rate: Samples a second of the result.
        seconds: The longest start to return; the rest of the file is not decoded.

    Returns:
        (samples,) float32, one or more.

    Raises:
        BadData: The item is no sound that libsndfile reads, is empty, or has an unusable sampling rate.
        MemoryError: It does not fit in memory.
    """
    try:
        with _opened(item) as file:
            own_rate, length = file.samplerate, len(file)
            # A little more than is returned: resampling must not see an end there.
            frames = math.ceil((seconds + RESAMPLING_SECONDS) * own_rate)
            samples = file.read(min(frames, length), dtype="float32", always_2d=True).mean(1)  # (samples,)
            _check_sound(samples, own_rate)
    except Unreadable as error:
        raise error.bad_data(name) from None
    return _resampled(samples, own_rate, rate)[: max(1, round(seconds * rate))]


def sound_milliseconds(item: Path | bytes, name: str) -> int:
    """Return how long a sound is by its header, rounded up; nothing is decoded.

    Args:
        item: A file, or an encoded file's bytes.
        name: The item's name for error messages, from `named`.

    Raises:
        BadData: The item is no sound that libsndfile reads.
    """
    try:
        with _opened(item) as file:
            return -(-len(file) * 1000 // int(file.samplerate))
    except Unreadable as error:
        raise error.bad_data(name) from None


def try_audio(item: Path | bytes) -> bool:
    """Decode a sound only to see whether it can be used: its first minutes, and its end.

    Returns:
        Whether there is anything to hear: a constant, as a microphone's offset, is silence.

    Raises:
        Unreadable: `read_audio` cannot read it, or it is shorter than its own header says.
        MemoryError: It does not fit in memory.
    """
    heard, count = False, 0
    first: Any = None
    with _opened(item) as file:
        if problem := shortfall(file, item):
            raise Unreadable(problem)
        blocks = file.blocks(
            BLOCK, dtype="float32", always_2d=True, frames=min(len(file), TRIED_SECONDS * file.samplerate)
        )
        for block in blocks:
            _check_sound(block, file.samplerate)
            first = block[:1] if first is None else first
            heard, count = heard or bool((block != first).any()), count + len(block)
        if not count:
            _check_sound(numpy.zeros(0), file.samplerate)
        if len(file) <= TRIED_SECONDS * file.samplerate:
            problem = decoded_shortfall(file, count)
        else:
            file.seek(len(file) - 1)
            heard, problem = True, None if len(file.read(1)) else "is cut off before its end"
        if problem:
            raise Unreadable(problem)
    return heard


@contextlib.contextmanager
def _opened(item: Path | bytes) -> Iterator[Any]:
    """Open a sound as a `soundfile.SoundFile`; what goes wrong inside is raised as Unreadable."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(item) if isinstance(item, bytes) else item) as file:
            yield file
    except Unreadable:
        raise
    except Exception as error:  # libsndfile's errors are of several kinds
        if out_of_memory(error):
            raise
        if known := what_else(item, "audio"):
            raise Unreadable(*known) from None
        cure = f"{_CURE}, or convert it to wav, flac, mp3 or ogg"
        reason = one_line(getattr(error, "error_string", error), 200).rstrip(".")
        reason = "its format is not known" if "regular file" in reason else reason  # what libsndfile says of others
        raise Unreadable(f"cannot be read as a sound ({reason})", cure) from None


def _check_sound(samples: numpy.ndarray, rate: int) -> None:
    """Raise Unreadable for samples that are none, or no finite numbers, and for an impossible sampling rate."""
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise Unreadable(f"has a sampling rate of {rate} Hz")
    if not len(samples):
        raise Unreadable("holds no sound")
    if not numpy.isfinite(samples).all():
        raise Unreadable("holds samples that are no finite numbers")


def _resampled(samples: numpy.ndarray, own_rate: int, rate: int) -> numpy.ndarray:
    """Return the samples at another rate, by up- and downsampling through a low-pass filter."""
    if own_rate == rate:
        return samples
    import scipy.signal

    ratio = Fraction(rate, own_rate).limit_denominator(FINEST)  # an odd rate's own factors would need a huge filter
    resampled: numpy.ndarray = scipy.signal.resample_poly(samples, ratio.numerator, ratio.denominator)
    return resampled.astype(numpy.float32)
