"""Images and sounds decoded from files or bytes: images as RGB, sounds as a single channel.

The tasks of images and sounds call these functions in `encode`. Each unusable file is a BadData whose sentence names
the file and the cure; no format that can run a program is opened.
"""

import contextlib
import io
import math
import struct
import warnings
from fractions import Fraction
from pathlib import Path

import numpy
from PIL import Image, ImageOps, UnidentifiedImageError

from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # EPS is missing: it runs a program
RESAMPLING_SECONDS = 0.05  # read beyond the end of the part of a sound that is returned
LEAST_RATE, MOST_RATE = 1_000, 768_000  # samples a second; a header may claim anything
FINEST = 2_000  # terms of a resampling ratio: a rate is met to a ten-thousandth and better
NARROWEST = 100  # times longer than wide; resized by its shorter side, a narrower image would grow without bounds


def named(item: Path | bytes, row: int, kind: str) -> str:
    """Return the name of a column's item in an error message, such as "The image of example 3"."""
    return str(item) if isinstance(item, Path) else f"The {kind} of example {row + 1}"


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
    cure = "repair it, or remove its row"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=IMAGE_FORMATS) as image:
                image.load()
                decoded = _rgb(_upright(image))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        text = f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels; scale it down, or remove its row."
        raise BadData(text, "dataset", "source") from None
    except UnidentifiedImageError:
        text = f"{name} is no image that can be read ({', '.join(IMAGE_FORMATS)}); {cure}."
        raise BadData(text, "dataset", "source") from None
    except Exception as error:  # a broken file surfaces as whatever its format's decoder raises
        if out_of_memory(error):
            raise
        reason = one_line(error, 200)
        raise BadData(f"{name} cannot be read as an image ({reason}); {cure}.", "dataset", "source") from None
    if max(decoded.size) > NARROWEST * min(decoded.size):
        width, height = decoded.size
        text = f"{name} is {width} by {height} pixels, too narrow for an image; crop it, or remove its row."
        raise BadData(text, "dataset", "source")
    return decoded


def _upright(image: Image.Image) -> Image.Image:
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
        BadData: The item is no sound that libsndfile reads, is empty or silent, or has an unusable sampling rate.
        MemoryError: It does not fit in memory.
    """
    import soundfile

    cure = "repair it, or remove its row"
    try:
        with soundfile.SoundFile(io.BytesIO(item) if isinstance(item, bytes) else item) as file:
            own_rate, length = file.samplerate, len(file)
            # A little more than is returned: resampling must not see an end there.
            frames = math.ceil((seconds + RESAMPLING_SECONDS) * own_rate)
            samples = file.read(min(frames, length), dtype="float32", always_2d=True).mean(1)  # (samples,)
    except Exception as error:  # libsndfile's errors are of several kinds
        if out_of_memory(error):
            raise
        reason = one_line(error, 200)
        text = f"{name} cannot be read as a sound ({reason}); {cure}, or convert it to wav, flac, mp3 or ogg."
        raise BadData(text, "dataset", "source") from None
    problem = None
    if not LEAST_RATE <= own_rate <= MOST_RATE:
        problem = f"has a sampling rate of {own_rate} Hz"
    elif not len(samples):
        problem = "holds no sound"
    elif not numpy.isfinite(samples).all():
        problem = "holds samples that are no finite numbers"
    elif len(samples) == length and not samples.any():
        problem = "is silent from beginning to end"
    if problem:
        raise BadData(f"{name} {problem}; {cure}.", "dataset", "source")
    return _resampled(samples, own_rate, rate)[: max(1, round(seconds * rate))]


def _resampled(samples: numpy.ndarray, own_rate: int, rate: int) -> numpy.ndarray:
    """Return the samples at another rate, by up- and downsampling through a low-pass filter."""
    if own_rate == rate:
        return samples
    import scipy.signal

    ratio = Fraction(rate, own_rate).limit_denominator(FINEST)  # an odd rate's own factors would need a huge filter
    resampled: numpy.ndarray = scipy.signal.resample_poly(samples, ratio.numerator, ratio.denominator)
    return resampled.astype(numpy.float32)
