"""Sounds decoded from files or bytes, as a single channel.

The tasks of sounds read with it in `encode`. `data.media_columns` tries all files with it before.
"""

import contextlib
import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy

from luthier.studies.text import one_line
from luthier.trials.data.foreign_media import what_else
from luthier.trials.data.media import CURE, Unreadable
from luthier.trials.data.sound_lengths import decoded_shortfall, shortfall
from luthier.trials.memory import out_of_memory

RESAMPLING_SECONDS = 0.05  # read beyond the end of the part of a sound that is returned
LEAST_RATE, MOST_RATE = 1_000, 768_000  # samples a second; a header may claim anything
FINEST = 2_000  # terms of a resampling ratio: a rate is met to a ten-thousandth and better
TRIED_SECONDS = 120  # of a sound are decoded to try it; its header and its last sample tell about the rest
BLOCK = 1 << 18  # samples that are decoded at a time


def read_audio(item: Path | bytes, name: str, rate: int, seconds: float) -> numpy.ndarray:
    """Decode the start of a sound, all channels mixed to one.

    Args:
        item: A file, or an encoded file's bytes.
        name: The item's name for error messages, from `media.named`.
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
        name: The item's name for error messages, from `media.named`.

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
        cure = f"{CURE}, or convert it to wav, flac, mp3 or ogg"
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
