"""Inputs that are sounds, for every task with an answer for each.

`max_length` is in milliseconds: the start of each sound that the model hears. Sounds become the model's features once,
kept as 16-bit floats; a batch is padded as the model's own feature extractor pads.
"""

import copy
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers

from luthier.studies.results import Batching
from luthier.studies.strategy import Generation
from luthier.studies.text import one_line
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.input_lengths import MILLISECONDS, InputLengths, measured_rows
from luthier.trials.data.media import named
from luthier.trials.data.sounds import read_audio, sound_milliseconds
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model import pretrained as models
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.processors import check_preprocessor, load_preprocessor
from luthier.trials.tasks.audio_usage import audio_usage
from luthier.trials.tasks.export import Learned
from luthier.trials.tasks.row_task import RowTask
from luthier.trials.tasks.scoring import Batch
from luthier.trials.tasks.sound_augmentation import augmented
from luthier.trials.tasks.usage import Usage

SHORTEST_SECONDS = 0.05  # a shorter sound is padded with silence: a spectrum needs a window of samples
FRAME_MILLISECONDS = 10  # between two spectra, as Kaldi computes them
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
            lambda sound: _features(pretrained, sound)[1],
            self.mixed_targets,
        )

    def _encoded(self, pretrained: Pretrained, split: Split, max_length: int, exactly: bool) -> Encoded:
        extractor = extractor_of(pretrained)
        sounds: list[numpy.ndarray] = []
        key = ""
        for row in range(len(split)):
            key, features = _features(pretrained, self.given(pretrained, split, row, max_length))
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


def load_extractor(folder: Path, name: str) -> Any:
    """Load a model's feature extractor. Raises BadData."""
    return load_preprocessor(transformers.AutoFeatureExtractor, folder, name)


def extractor_of(pretrained: Pretrained) -> Any:
    """Return the feature extractor of a model whose processor is that, or holds it beside a tokenizer."""
    return getattr(pretrained.processor, "feature_extractor", pretrained.processor)


def check_features(pretrained: Pretrained, name: str, **further: torch.Tensor) -> None:
    """Try a model on a second of silence.

    Args:
        pretrained: The model and its processor.
        name: The model's name, for messages.
        further: What its forward needs beside the features, for one row.

    Raises:
        BadData: The model cannot take what its feature extractor makes.
        torch.OutOfMemoryError: The device's memory does not suffice.
    """
    try:
        key, features = _features(pretrained, numpy.zeros(extractor_of(pretrained).sampling_rate, numpy.float32))
        inputs = {key: torch.from_numpy(features)[None], **further}
        with torch.no_grad():
            pretrained.model.eval()  # type: ignore[no-untyped-call]
            pretrained.model(**{key: values.to(pretrained.model.device) for key, values in inputs.items()})
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        if out_of_memory(error):
            raise
        reason = one_line(error).rstrip(".")
        raise BadData(
            f"{name}: what its feature extractor makes does not suit the model: {reason}. Save the right one with it.",
            "model",
        ) from None


def _features(pretrained: Pretrained, sound: numpy.ndarray) -> tuple[str, numpy.ndarray]:
    """Return the name of the model's input, and its value for one sound at the extractor's rate, float32.

    Raises whatever the feature extractor raises.
    """
    extractor = extractor_of(pretrained)
    window = window_samples(pretrained)
    options = {} if window is None else {"padding": "max_length", "max_length": window, "truncation": True}
    inputs = extractor(sound, sampling_rate=extractor.sampling_rate, return_tensors="np", **options)
    key = next(name for name in ("input_values", "input_features") if name in inputs)
    return key, numpy.asarray(inputs[key][0], dtype=numpy.float32)


def inner_lengths(model: Any) -> dict[str, Callable[[int], int]]:
    """Return the function from the samples of a sound to the frames that a model makes of them, where it has one."""
    if not hasattr(model, "_get_feat_extract_output_lengths"):
        return {}

    @cache
    def frames(samples: int) -> int:
        return int(model._get_feat_extract_output_lengths(torch.tensor(samples)))

    return {"frames": frames}


def window_samples(pretrained: Pretrained) -> int | None:
    """Return the samples of the window of one length that Whisper hears, by its positions; None for other models."""
    positions = getattr(pretrained.model.config, "max_source_positions", None)
    hop: int | None = getattr(extractor_of(pretrained), "hop_length", None)
    return None if positions is None or hop is None else 2 * int(positions) * hop


def saved_extractor(pretrained: Pretrained) -> Any:
    """Return a copy of a model's feature extractor that makes the model's window also where its files say another."""
    extractor, window = copy.deepcopy(extractor_of(pretrained)), window_samples(pretrained)
    if window is not None:
        extractor.return_attention_mask = False  # encoders of Whisper's kind take none
        extractor.chunk_length, extractor.n_samples = -(-window // extractor.sampling_rate), window
        extractor.nb_max_frames = window // extractor.hop_length
    return extractor


def longest_sound(pretrained: Pretrained) -> int | None:
    """Return the milliseconds of a sound that the model hears at most; None: any sound."""
    extractor = extractor_of(pretrained)
    if samples := window_samples(pretrained):
        return samples * 1000 // int(extractor.sampling_rate)
    if hasattr(extractor, "num_mel_bins") and isinstance(frames := getattr(extractor, "max_length", None), int):
        return frames * FRAME_MILLISECONDS  # the audio spectrogram transformer cuts its spectra itself
    return None


def least_samples(pretrained: Pretrained) -> int:
    """Return the least samples of a sound: for one spectrum, or for as many frames as a mask during training covers."""
    config = pretrained.model.config
    least: int = round(SHORTEST_SECONDS * extractor_of(pretrained).sampling_rate)
    if not hasattr(config, "conv_kernel") or not hasattr(config, "conv_stride"):
        return least
    length: int = 1 + getattr(config, "mask_time_length", 1)  # in frames, and then back through the convolutions
    for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
        length = (length - 1) * stride + kernel
    return max(least, length)
