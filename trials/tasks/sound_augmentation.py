"""Augmentation of sounds: waveforms change before the model's features are made, spectra afterwards.

The tasks on sound call `augmented`; `data.sound_changes` says how a sound changes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy
import torch

from luthier.studies.augmentations import alternatives
from luthier.trials.data.encoded import Changes, Encoded
from luthier.trials.data.sound_changes import WAVES, blanked
from luthier.trials.errors import BadData
from luthier.trials.tasks.mixing import ALPHAS, MixedTargets, Mixing

FULL = 32_768  # the least whole number of 16 bits, negated
FRAME_SECONDS = 0.01  # between two spectra, where a feature extractor does not say it


@dataclass(frozen=True)
class StoredSound:
    """A waveform in half of its memory: whole numbers, which lose nothing of a file of 16 bits at the model's rate.

    Attributes:
        samples: (samples,) int16.
        unit: The value of 1.
    """

    samples: numpy.ndarray
    unit: float

    @classmethod
    def of(cls, sound: numpy.ndarray) -> Self:
        """Return a waveform, (samples,) float32, as it is stored."""
        unit = max(1.0, float(numpy.abs(sound).max()) * FULL / (FULL - 1)) / FULL
        return cls(numpy.clip(numpy.round(sound / unit), -FULL, FULL - 1).astype(numpy.int16), unit)

    def waveform(self) -> numpy.ndarray:
        """Return the waveform, (samples,) float32."""
        return self.samples.astype(numpy.float32) * numpy.float32(self.unit)


@dataclass(frozen=True, kw_only=True)
class WaveChanges(Changes):
    """Random changes of waveforms.

    Attributes:
        name: noise or time_shift.
        features: (samples,) float32 -> the model's features.
        sounds: Each row's waveform; None: the features are waveforms.
    """

    name: str
    features: Callable[[numpy.ndarray], numpy.ndarray]
    sounds: Sequence[StoredSound] | None

    def sample(self, rows: Sequence[int]) -> Self:
        """Return them for a split of some of the rows."""
        return self if self.sounds is None else replace(self, sounds=[self.sounds[i] for i in rows])

    def draw(self, encoded: Encoded) -> Encoded:
        """Return the split with the features of changed sounds, float32."""
        key, waves = _waveforms(encoded, self.sounds)
        changed = [self.features(WAVES[self.name](wave, self.rate)) for wave in waves]
        return replace(encoded, columns={key: changed}, augmented=False, changes=None)


@dataclass(frozen=True, kw_only=True)
class SoundMixing(Mixing):
    """Mixtures of each sound of a batch with another one of it, as long as the first (Tokozume et al. 2018).

    Attributes:
        features: (samples,) float32 -> the model's features.
        sounds: Each row's waveform; None: the features are waveforms.
    """

    features: Callable[[numpy.ndarray], numpy.ndarray]
    sounds: Sequence[StoredSound] | None

    def sample(self, rows: Sequence[int]) -> Self:
        """Return them for a split of some of the rows."""
        return self if self.sounds is None else replace(self, sounds=[self.sounds[i] for i in rows])

    def draw(self, encoded: Encoded) -> Encoded:
        """Return the split with the features of weighted means of two sounds, float32, and what is learned of them."""
        key, waves = _waveforms(encoded, self.sounds)
        partners = self.partners(len(waves))
        shares = [self.share() for _ in waves]
        mixed = []
        for wave, partner, share in zip(waves, partners, shares, strict=True):
            other = numpy.append(waves[partner], numpy.zeros_like(wave))[: len(wave)]
            mixed.append(self.features(numpy.float32(share) * wave + numpy.float32(1 - share) * other))
        targets = self.mixed_targets(encoded.targets, partners, torch.tensor(shares))
        return replace(encoded, columns={key: mixed}, targets=targets, augmented=False, changes=None)


@dataclass(frozen=True, kw_only=True)
class SpectrumChanges(Changes):
    """Bands of spectra that are blanked.

    Attributes:
        bands: The axis of frequencies.
        filled: For each row, how many frames its sound fills.
    """

    bands: int
    filled: Sequence[int]

    def sample(self, rows: Sequence[int]) -> Self:
        """Return them for a split of some of the rows."""
        return replace(self, filled=[self.filled[i] for i in rows])

    def draw(self, encoded: Encoded) -> Encoded:
        """Return the split with bands of each spectrum blanked."""
        ((key, values),) = encoded.columns.items()
        pairs = zip(values, self.filled, strict=True)
        changed = [blanked(spectrum, self.rate, self.bands, filled) for spectrum, filled in pairs]
        return replace(encoded, columns={key: changed}, augmented=False, changes=None)


def augmented(
    encoded: Encoded,
    sounds: Iterable[numpy.ndarray],
    extractor: Any,
    augmentation: str,
    features: Callable[[numpy.ndarray], numpy.ndarray],
    mixed_targets: MixedTargets,
    others: Sequence[str],
) -> Encoded:
    """Return an encoded split whose sounds change at random in each batch.

    Args:
        encoded: Features without padding.
        sounds: Each row's waveform, (samples,) float32; they are read where features are spectra.
        extractor: The model's feature extractor.
        augmentation: noise, time_shift, mixup or spec_augment.
        features: (samples,) float32 -> the model's features.
        mixed_targets: What is learned of mixtures.
        others: The task's augmentations of waveforms, for a message.

    Raises:
        BadData: The model hears waveforms, which have no spectrum to blank.
    """
    (values,) = encoded.columns.values()
    shape = numpy.shape(values[0])
    if augmentation == "spec_augment":
        if len(shape) == 1:
            raise BadData(
                "spec_augment needs a model that hears spectra (as AST and Whisper do), and this one hears waveforms; "
                f"take augmentation: {alternatives(others)}, or another model.",
                "augmentation",
            )
        hop = getattr(extractor, "hop_length", None) or round(FRAME_SECONDS * extractor.sampling_rate)  # samples
        bands = _bands(shape, extractor)
        frames = shape[-3 - bands]
        filled = [min(frames, -(-len(sound) // hop)) for sound in sounds]
        changes: Changes = SpectrumChanges(bands=bands, filled=filled)
    else:
        stored = None if len(shape) == 1 else [StoredSound.of(sound) for sound in sounds]
        if augmentation in ALPHAS:
            alpha = ALPHAS[augmentation]
            changes = SoundMixing(
                name=augmentation, alpha=alpha, mixed_targets=mixed_targets, features=features, sounds=stored
            )
        else:
            changes = WaveChanges(name=augmentation, features=features, sounds=stored)
    return replace(encoded, augmented=True, changes=changes)


def _waveforms(encoded: Encoded, sounds: Sequence[StoredSound] | None) -> tuple[str, list[numpy.ndarray]]:
    """Return the name of a split's column, and each row's waveform, (samples,) float32: its feature or a stored one."""
    ((key, values),) = encoded.columns.items()
    if sounds is None:
        return key, [wave.astype(numpy.float32) for wave in values]
    return key, [sound.waveform() for sound in sounds]


def _bands(shape: Sequence[int], extractor: Any) -> int:
    """Return the axis of frequencies of spectra: -2 where its size alone is that of the extractor's, else the last."""
    sizes = {getattr(extractor, name, None) for name in ("feature_size", "num_mel_bins")}
    return -2 if shape[-2] in sizes and shape[-1] not in sizes else -1
