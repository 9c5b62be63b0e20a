"""Audio classification: one label for a sound.

`max_length` is in milliseconds here: of each sound, so much from its start. Sounds become the model's features once,
kept as 16-bit floats; a batch is padded as the model's own feature extractor pads.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
import transformers

from luthier.studies.tasks import TASKS
from luthier.studies.text import one_line
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.load import Split
from luthier.trials.data.media import named, read_audio
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model import pretrained as models
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.pretrained import check_preprocessor as check
from luthier.trials.tasks.metrics import classification_scores

__all__ = ["check", "collate", "encode", "load", "scores"]

SHORTEST_SECONDS = 0.05  # a shorter sound is padded with silence: a spectrum needs a window of samples
LEAST_FILLED = 0.5  # mean length as a share of the longest, for padding all sounds to that to be no great waste


def load(folder: Path, name: str, label_names: list[str]) -> Pretrained:
    """Feature extractor and classifier of a checked model folder, which fit each other. Raises BadData."""
    extractor = models.load_preprocessor(transformers.AutoFeatureExtractor, folder, name)
    auto = transformers.AutoModelForAudioClassification
    pretrained = models.load(auto, folder, name, label_names, processor=extractor)
    try:
        key, features = _features(pretrained, numpy.zeros(extractor.sampling_rate, numpy.float32))
        with torch.no_grad():
            pretrained.model.eval()(**{key: torch.from_numpy(features)[None].to(pretrained.model.device)})
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        if out_of_memory(error):
            raise
        reason = one_line(error)
        text = (
            f"{name}: what its feature extractor makes does not suit the model: {reason}. Save the right one with it."
        )
        raise BadData(text, "model") from None
    return pretrained


def encode(pretrained: Pretrained, split: Split, max_length: int) -> Encoded:
    """Features of the first `max_length` milliseconds of each sound. Raises BadData.

    They are waveforms (samples,) or, where the model hears spectra, of one shape for all. Where the model cannot tell
    padding from sound (no attention mask, or a normalisation over time before it), all waveforms of the split are
    padded to its longest: what an example gives must not depend on its neighbours in a batch.
    """
    extractor, kept, key = pretrained.processor, [], ""
    least = _least_samples(pretrained)
    for i, item in enumerate(split.columns["audio"]):
        sound = read_audio(item, named(item, i, "sound"), extractor.sampling_rate, max_length / 1000)
        sound = numpy.pad(sound, (0, max(0, least - len(sound))))
        key, features = _features(pretrained, sound)
        kept.append(features.astype(numpy.float16))
    lengths = [len(features) if features.ndim == 1 else 1 for features in kept]
    masked = kept[0].ndim == 1 and bool(getattr(extractor, "return_attention_mask", False))
    # One length for all where a sound's features would hang on how far it is padded, and where most are about as long:
    # then what a frozen part makes of each can be kept.
    alike = not masked or getattr(pretrained.model.config, "feat_extract_norm", "") == "group"
    alike = alike or sum(lengths) >= LEAST_FILLED * max(lengths) * len(lengths)
    return Encoded(
        {key: kept},
        {key: float(extractor.padding_value), **({"attention_mask": 0} if masked else {})},
        torch.tensor(split.labels),
        [max(lengths)] * len(kept) if alike else lengths,
        max(lengths),
    )


def _features(pretrained: Pretrained, sound: numpy.ndarray) -> tuple[str, numpy.ndarray]:
    """The model's input and its name for one sound at the extractor's rate. Raises what the extractor raises."""
    extractor, config, options = pretrained.processor, pretrained.model.config, {}
    positions = getattr(config, "max_source_positions", None)
    if positions is not None and hasattr(extractor, "hop_length"):  # Whisper: a window of one length, by its positions
        samples = 2 * positions * extractor.hop_length
        options = {"padding": "max_length", "max_length": samples, "truncation": True}
    made = extractor(sound, sampling_rate=extractor.sampling_rate, return_tensors="np", **options)
    key = next(name for name in ("input_values", "input_features") if name in made)
    return key, numpy.asarray(made[key][0], dtype=numpy.float32)


def _least_samples(pretrained: Pretrained) -> int:
    """Samples a sound must have: for one spectrum, or for frames that a mask of the training mode fits into."""
    config, least = pretrained.model.config, round(SHORTEST_SECONDS * pretrained.processor.sampling_rate)
    if not hasattr(config, "conv_kernel") or not hasattr(config, "conv_stride"):
        return least
    length = 1 + getattr(config, "mask_time_length", 1)  # in frames, and then back through the convolutions
    for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
        length = (length - 1) * stride + kernel
    return max(least, length)


def collate(encoded: Encoded, rows: Sequence[int]) -> dict[str, torch.Tensor]:
    """Features (rows, samples) or (rows, ...), float32; padded to the longest of them or of the split."""
    ((key, values),) = encoded.columns.items()
    chosen = [values[i] for i in rows]
    if chosen[0].ndim > 1:
        return {key: torch.from_numpy(numpy.stack(chosen)).float()}
    longest = max(encoded.lengths[i] for i in rows)
    batch = torch.full((len(rows), longest), encoded.padding[key])
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for row, wave in enumerate(chosen):
        batch[row, : len(wave)] = torch.from_numpy(wave)
        mask[row, : len(wave)] = 1
    return {key: batch, "attention_mask": mask} if "attention_mask" in encoded.padding else {key: batch}


def scores(logits: torch.Tensor, encoded: Encoded, label_names: Sequence[str]) -> Metrics:
    """Every metric of the task, from logits (examples, classes)."""
    found = classification_scores(logits, encoded.labels)
    return {metric.name: found[metric.name] for metric in TASKS["audio-classification"].metrics}
