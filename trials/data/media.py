"""Images and sounds from files or bytes: images as transformers' pipelines decode them, sounds as one channel.

What cannot be used is a BadData whose sentence names the file and the cure.
"""

import contextlib
import io
import math
import struct
import warnings
from fractions import Fraction
from pathlib import Path

import numpy
from PIL import Image, ImageOps

from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory

IMAGE_FORMATS = (
    "BMP",
    "GIF",
    "JPEG",
    "JPEG2000",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)  # none that runs a program, as EPS does
RESAMPLING_SECONDS = 0.05  # by which a sound is read on beyond its wanted end
LEAST_RATE, MOST_RATE = 1_000, 768_000  # samples a second; a header may claim anything
FINEST = 2_000  # terms of a resampling ratio: a rate is met to a ten-thousandth and better
NARROWEST = 100  # times longer than wide; resized by its shorter side, a narrower image would grow without bounds


def named(item: Path | bytes, row: int, kind: str) -> str:
    """What to call an item of a column in a sentence."""
    return str(item) if isinstance(item, Path) else f"The {kind} of example {row + 1}"


def read_image(item: Path | bytes, name: str) -> Image.Image:
    """An upright RGB image, from a file or an encoded file's bytes. Raises BadData.

    Of an animation the first frame. Transparency is dropped, as `transformers.pipeline` does with what the finished
    model will be given. 16 bits a channel are scaled to 8.
    """
    cure = "repair it, or remove its row"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=IMAGE_FORMATS) as image:
                image.load()
                found = _rgb(_upright(image))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        text = f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels; scale it down, or remove its row."
        raise BadData(text, "dataset", "source") from None
    except Image.UnidentifiedImageError:
        text = f"{name} is no image that can be read ({', '.join(IMAGE_FORMATS)}); {cure}."
        raise BadData(text, "dataset", "source") from None
    except Exception as error:  # a broken file surfaces as whatever its format's decoder raises
        if out_of_memory(error):
            raise
        reason = one_line(error, 200)
        raise BadData(f"{name} cannot be read as an image ({reason}); {cure}.", "dataset", "source") from None
    if max(found.size) > NARROWEST * min(found.size):
        width, height = found.size
        text = f"{name} is {width} by {height} pixels, too narrow for an image; crop it, or remove its row."
        raise BadData(text, "dataset", "source")
    return found


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the camera's EXIF says; a broken EXIF says nothing."""
    with contextlib.suppress(OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return ImageOps.exif_transpose(image)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are decimal numbers; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # PIL's own conversion would clip all above 255
        values = numpy.asarray(image).clip(0, 65_535)
        wide = image.mode != "I" or values.max() > 255
        image = Image.fromarray((values >> 8 if wide else values).astype(numpy.uint8))
    return image.convert("RGB")


def read_audio(item: Path | bytes, name: str, rate: int, seconds: float) -> numpy.ndarray:
    """A sound's first `seconds`, all channels mixed to one, at `rate` samples a second, float32. Raises BadData."""
    import soundfile

    cure = "repair it, or remove its row"
    try:
        with soundfile.SoundFile(io.BytesIO(item) if isinstance(item, bytes) else item) as file:
            own_rate, length = file.samplerate, len(file)
            # A little more than wanted, so that the last sample does not feel the end.
            wanted = math.ceil((seconds + RESAMPLING_SECONDS) * own_rate)
            found = file.read(min(wanted, length), dtype="float32", always_2d=True).mean(1)  # (samples,)
    except Exception as error:  # libsndfile's errors are of several kinds
        if out_of_memory(error):
            raise
        reason = one_line(error, 200)
        text = f"{name} cannot be read as a sound ({reason}); {cure}, or convert it to wav, flac, mp3 or ogg."
        raise BadData(text, "dataset", "source") from None
    problem = None
    if not LEAST_RATE <= own_rate <= MOST_RATE:
        problem = f"has a sampling rate of {own_rate} Hz"
    elif not len(found):
        problem = "holds no sound"
    elif not numpy.isfinite(found).all():
        problem = "holds samples that are no finite numbers"
    elif len(found) == length and not found.any():
        problem = "is silent from beginning to end"
    if problem:
        raise BadData(f"{name} {problem}; {cure}.", "dataset", "source")
    return _resampled(found, own_rate, rate)[: max(1, round(seconds * rate))]


def _resampled(samples: numpy.ndarray, given: int, wanted: int) -> numpy.ndarray:
    """Through a low-pass filter, by up- and downsampling with the rates' smallest factors."""
    if given == wanted:
        return samples
    import scipy.signal

    ratio = Fraction(wanted, given).limit_denominator(FINEST)  # an odd rate's own factors would take an endless filter
    found: numpy.ndarray = scipy.signal.resample_poly(samples, ratio.numerator, ratio.denominator)
    return found.astype(numpy.float32)
