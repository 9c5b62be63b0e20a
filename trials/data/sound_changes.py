"""Random changes to a training sound, or to its spectrum, that leave its label true.

noise         white noise, 10 to 30 dB below the sound
time_shift    the sound begins earlier or later, and silence fills the gap
spec_augment  two bands of time and two of frequency are blanked (SpecAugment, Park et al. 2019, without time warping)

`sound_augmentation` calls them. Draws come from the module `random`'s own generator, which the trainer seeds.
"""

# ruff: noqa: S311 - reproducible draws, not secrets

import random
from collections.abc import Callable

import numpy

DECIBELS = (10.0, 30.0)  # signal to noise ratio
MASKS = 2  # bands along each axis of a spectrum, as in the paper's policies LD and SM


def with_noise(sound: numpy.ndarray, rate: float) -> numpy.ndarray:
    """Return a sound with white noise of a random strength; silence stays silence.

    Args:
        sound: (samples,) float32.
        rate: Without meaning here.
    """
    ratio = 10 ** (random.uniform(*DECIBELS) / 10)
    deviation = numpy.sqrt(numpy.mean(numpy.square(sound, dtype=numpy.float64)) / ratio)
    noise = numpy.random.default_rng(random.getrandbits(64)).standard_normal(len(sound), dtype=numpy.float32)
    changed: numpy.ndarray = sound + numpy.float32(deviation) * noise
    return changed


def shifted(sound: numpy.ndarray, rate: float) -> numpy.ndarray:
    """Return a sound of the same length that begins earlier or later; what leaves it is lost.

    Args:
        sound: (samples,) float32.
        rate: The longest shift, as a share of the sound.
    """
    longest = round(rate * len(sound))
    shift = random.randint(-longest, longest)  # samples
    moved = numpy.zeros_like(sound)
    moved[max(0, shift) : len(sound) + min(0, shift)] = sound[max(0, -shift) : len(sound) - max(0, shift)]
    return moved


def blanked(spectrum: numpy.ndarray, rate: float, bands: int, filled: int) -> numpy.ndarray:
    """Return a spectrum with blank bands of time and of frequency; they have its mean.

    Each is between nothing and `rate` of the axis wide: two together blank `rate` of it on average, but for overlaps.

    Args:
        spectrum: (..., time, frequency) or (..., frequency, time).
        rate: The widest band, as a share of the axis.
        bands: The axis of frequencies, -1 or -2; time is the other.
        filled: Frames that the sound fills; behind them is padding, which stays.
    """
    changed = spectrum.copy()
    by_time = numpy.moveaxis(changed, (-3 - bands, bands), (-2, -1))[..., :filled, :]  # (..., frames, frequencies)
    mean = by_time.mean(dtype=numpy.float64)
    for axis in (-2, -1):
        size = by_time.shape[axis]
        for _ in range(MASKS):
            width = random.randint(0, round(rate * size))
            start = random.randint(0, size - width)
            numpy.moveaxis(by_time, axis, 0)[start : start + width] = mean
    return changed


WAVES: dict[str, Callable[[numpy.ndarray, float], numpy.ndarray]] = {"noise": with_noise, "time_shift": shifted}
"""Augmentation -> (sound, rate) -> a changed sound of the same length."""
