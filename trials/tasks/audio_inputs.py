"""Inputs that are sounds, for every task with an answer for each.

`max_length` is in milliseconds: the start of each sound that the model hears. Sounds become the model's features once,
kept as 16-bit floats; a batch is padded as the model's own feature extractor pads.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch

from luthier.studies.results import Batching
from luthier.studies.strategy import Generation
from luthier.studies.tasks import TASKS
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import MILLISECONDS, InputLengths, measured_rows
from luthier.trials.data.media import named
from luthier.trials.data.sounds import read_audio, sound_milliseconds
from luthier.trials.data.splits import Split
from luthier.trials.model import pretrained as models
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.processors import check_preprocessor
from luthier.trials.tasks.audio_usage import audio_usage
from luthier.trials.tasks.export import Learned
from luthier.trials.tasks.feature_extractors import (
    check_features,
    extractor_of,
    features_of,
    inner_lengths,
    least_samples,
    load_extractor,
    longest_sound,
    window_samples,
)
from luthier.trials.tasks.row_task import RowTask
from luthier.trials.tasks.scoring import Batch
from luthier.trials.tasks.sound_augmentation import augmented
from luthier.trials.tasks.usage import Usage

LEAST_FILLED = 0.5  # mean length by the longest, from which older studies pad all sounds to the longest


class AudioInputs(RowTask[Learned]):
    """A model over waveforms or spectra; `max_length` is in milliseconds. A row is an example is a unit."""

    def check(self, folder: Path, name: str) -> None:
        """Raise BadData when the folder holds no feature extractor."""
        check_preprocessor(folder, name)

    def load(self, folder: Path, name: str, targets: Learned) -> Pretrained:
        """Load feature extractor and model, and try them on a second of silence. Raises BadData."""
        extractor = load_extractor(folder, name)
        pretrained = models.load(self.name, folder, name, self.head(targets), processor=extractor)
        check_features(pretrained, name)
        return self.loaded(pretrained, targets)

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
        """Return the features of the first `max_length` milliseconds of each sound.

        They are waveforms (samples,) or, where the model hears spectra, arrays (frames, ...). Where the model
        cannot tell padding from sound (no attention mask, or a normalisation over time before it), all waveforms of the
        split are padded to its longest: the features of an example must not depend on its neighbours in a batch. The
        inspections of newer studies see that padding changes such a model's answers, and then nothing is padded.

        Raises:
            BadData: A sound cannot be read.
        """
        return self._encoded(pretrained, split, max_length, exactly=False)

    def encode_exactly(self, pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
        """Return the features as 32-bit floats, none of them padded to the length of others. Raises BadData."""
        return self._encoded(pretrained, split, max_length, exactly=True)

    def encode_augmented(self, pretrained: Pretrained, split: Split, augmentation: str, max_length: int) -> Encoded:
        """Return features as `encode` does, which are those of a changed sound in each batch. Raises BadData."""
        encoded = self.encode(pretrained, split, max_length)
        sounds = (self.given(pretrained, split, row, max_length) for row in range(len(split)))
        extractor = extractor_of(pretrained)
        return augmented(
            encoded,
            sounds,
            extractor,
            augmentation,
            lambda sound: features_of(pretrained, sound)[1],
            self.mixed_targets,
            [name for name in TASKS[self.name].augmentation_names if name != "spec_augment"],
        )

    def _encoded(self, pretrained: Pretrained, split: Split, max_length: int, exactly: bool) -> Encoded:
        extractor = extractor_of(pretrained)
        sounds: list[numpy.ndarray] = []
        key = ""
        for row in range(len(split)):
            key, features = features_of(pretrained, self.given(pretrained, split, row, max_length))
            sounds.append(features if exactly else features.astype(numpy.float16))
        own = [len(features) for features in sounds]
        are_padded = sounds[0].ndim == 1 or len(set(own)) > 1  # spectra of one shape are not
        lengths = own if are_padded else [1] * len(sounds)
        masked = are_padded and bool(getattr(extractor, "return_attention_mask", False))
        # The same length for all where a sound's features depend on its padding.
        needed = not masked or getattr(pretrained.model.config, "feat_extract_norm", "") == "group"
        one_length = needed or sum(lengths) >= LEAST_FILLED * max(lengths) * len(lengths)
        return Encoded(
            columns={key: sounds},
            padding={key: float(extractor.padding_value), **({"attention_mask": 0} if masked else {})},
            targets=self.encode_targets(split.targets),
            lengths=[max(lengths)] * len(sounds) if one_length and not exactly else lengths,
            longest=max(lengths),
            inner_lengths={}
            if exactly or sounds[0].ndim > 1
            else inner_lengths(pretrained.model),  # it holds the model
            own_lengths=None if needed or exactly else lengths,
        )

    def input_lengths(self, pretrained: Pretrained, split: Split, poll: Callable[[], None]) -> InputLengths | None:
        """Measure the sounds in milliseconds, by the headers of their files. Raises BadData."""
        rows = measured_rows(len(split))
        lengths = []
        for i in rows:
            item = split.columns["audio"][i]
            lengths.append(sound_milliseconds(item, named(item, i, "sound")))
            poll()
        limit = longest_sound(pretrained)
        return InputLengths(numpy.array(lengths), rows, len(split), MILLISECONDS, "sound", limit)

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return features (rows, samples or frames, ...), padded to the longest row, or (rows, ...) of one shape.

        The attention mask, (rows, samples or frames), is there where rows are padded and the model's feature extractor
        makes one.
        """
        ((key, values),) = encoded.columns.items()
        sounds = [values[i] for i in rows]
        alike = "attention_mask" not in encoded.padding and len(set(map(len, sounds))) == 1
        if sounds[0].ndim > 1 and (alike or encoded.batching is Batching.SINGLE):
            return {key: torch.from_numpy(numpy.stack(sounds)).float()}
        longest = max(encoded.lengths[i] for i in rows)
        batch = torch.full((len(rows), longest, *sounds[0].shape[1:]), encoded.padding[key])
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for row, sound in enumerate(sounds):
            batch[row, : len(sound)] = torch.from_numpy(sound)
            mask[row, : len(sound)] = 1
        return {key: batch, "attention_mask": mask} if "attention_mask" in encoded.padding else {key: batch}

    def export(
        self, pretrained: Pretrained, examples: Split, targets: Learned, max_length: int, generation: Generation
    ) -> Usage:
        """Save a Whisper's window with its feature extractor; the code on the card cuts sounds as the score does."""
        reading = self.reading(pretrained, targets, examples, max_length)
        names = tuple(self.head(targets).names or ())
        least, window = least_samples(pretrained), window_samples(pretrained)
        return audio_usage(pretrained, reading, names, max_length, least, window)

    def given(self, pretrained: Pretrained, examples: Split, row: int, max_length: int) -> Any:
        """Return the first `max_length` milliseconds of a sound, (samples,) float32. Raises BadData."""
        item = examples.columns["audio"][row]
        rate = extractor_of(pretrained).sampling_rate
        sound = read_audio(item, named(item, row, "sound"), rate, max_length / 1000)
        return numpy.pad(sound, (0, max(0, least_samples(pretrained) - len(sound))))
