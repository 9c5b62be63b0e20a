"""Feature extractors of models that hear: what they make of a sound, and how long and how short a sound may be.

The tasks on sounds call it. Lengths are samples at the extractor's own rate, or milliseconds where it is said.
"""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers

from luthier.studies.text import one_line
from luthier.trials.errors import BadData
from luthier.trials.memory import out_of_memory
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.model.processors import load_preprocessor

SHORTEST_SECONDS = 0.05  # a shorter sound is padded with silence: a spectrum needs a window of samples
FRAME_MILLISECONDS = 10  # between two spectra, as Kaldi computes them


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
        key, features = features_of(pretrained, numpy.zeros(extractor_of(pretrained).sampling_rate, numpy.float32))
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


def features_of(pretrained: Pretrained, sound: numpy.ndarray) -> tuple[str, numpy.ndarray]:
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
