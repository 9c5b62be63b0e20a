"""How people use a packed model that hears: the code on its card, and the feature extractor saved with it.

`read_sound` and `hear` stand on cards as they are, so they import nothing of this package.
"""

import copy
from typing import Any

from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.usage import HERE, PROCESSORS, Answer, Reading, Usage, call, piped, source

TAG = "audio-classification"
"""The pipeline of every model with an answer for a sound, be it a class, labels or a number."""


def audio_usage(
    pretrained: Pretrained, reading: Reading, names: tuple[str, ...], max_length: int, least: int, window: int | None
) -> Usage:
    """Return how a model that hears is used: a Whisper's window is saved with its feature extractor.

    The code on the card cuts sounds as the score does.

    Args:
        pretrained: The model and its feature extractor.
        reading: How its answers are read.
        names: The names of its outputs.
        max_length: Milliseconds that it hears.
        least: The least samples of a sound.
        window: The samples of a window that all sounds fill; None: there is none.
    """
    extractor = copy.deepcopy(pretrained.processor)
    rate = extractor.sampling_rate
    whole = window is None or window % rate == 0
    if window is not None:
        extractor.return_attention_mask = False  # encoders of Whisper's kind take none
        extractor.chunk_length, extractor.n_samples = -(-window // rate), window
        extractor.nb_max_frames = window // extractor.hop_length
    sound = f"read_sound('sound.wav', {rate}, {most_samples(rate, max_length)}, {least})"
    applied = {"apply": reading.apply} if reading.apply else {}
    return Usage(
        tag=TAG,
        auto="AutoModelForAudioClassification",
        kind="feature_extractor",
        processor=extractor,
        names=names,
        code=_code(sound, reading, len(names), None if whole else window),
        notes=(
            f"The model hears the first {max_length / 1000:g} s of a sound, one channel at {rate} Hz, as it was "
            "trained and scored with; cut longer ones before. `soundfile` reads sounds, `scipy` resamples them.",
            *reading.notes,
        ),
        function=piped if whole else heard,
        options=reading.options if whole else {"samples": window, **applied},
    )


def _code(sound: str, reading: Reading, outputs: int, window: int | None) -> str:
    """Return the code on a card; `window`: the samples of a window that the feature extractor's files cannot hold."""
    imported, functions = "pipeline", source(read_sound)
    made = f"{reading.verb} = {call(TAG, {})}\n{reading.code(sound, outputs)}"
    if window is not None:
        imported = "AutoFeatureExtractor, AutoModelForAudioClassification"
        functions += f"\n\n\n{source(hear)}"
        applied = f", {reading.apply!r}" if reading.apply else ""
        made = f"""\
extractor = AutoFeatureExtractor.from_pretrained({HERE!r})
model = AutoModelForAudioClassification.from_pretrained({HERE!r}).eval()
print(hear({sound}, extractor, model, {window}{applied}))"""
    return f"from typing import Any\n\nfrom transformers import {imported}\n\n\n{functions}\n\n\n{made}\n"


def most_samples(rate: int, max_length: int) -> int:
    """Return the samples of `max_length` milliseconds, as `read_audio` cuts."""
    return max(1, round(max_length / 1000 * rate))


def heard(model: Any, folder: str, tag: str, kind: str, **options: Any) -> Answer:
    """Return the function that answers as `hear` does; arguments as those of `piped`."""
    from transformers import AutoFeatureExtractor

    auto: Any = AutoFeatureExtractor
    extractor = auto.from_pretrained(folder, trust_remote_code=False)
    return lambda sound: [hear(sound, extractor, model.eval(), **options)]


def transcribed(model: Any, folder: str, tag: str, kind: str, **options: Any) -> Answer:
    """Return the function that writes what is said as `transformers.pipeline` does; arguments as those of `piped`."""
    import transformers

    make: Any = transformers.pipeline
    parts = {part: getattr(transformers, PROCESSORS[part]) for part in ("tokenizer", "feature_extractor")}
    loaded = {part: auto.from_pretrained(folder, trust_remote_code=False) for part, auto in parts.items()}
    recognise = make(tag, model=model, **loaded, **options)
    return lambda sound: [{"text": recognise(sound)["text"].strip()}]


def read_sound(file: str, rate: int, samples: int | None, least: int) -> Any:
    """Return a sound, or its start, as one channel at a sampling rate, (samples,) float32, padded if very short."""
    from fractions import Fraction

    import numpy
    import soundfile

    sound, own = soundfile.read(file, dtype="float32", always_2d=True)
    sound = sound.mean(1)
    if own != rate:
        import scipy.signal

        ratio = Fraction(rate, own).limit_denominator(2000)
        sound = scipy.signal.resample_poly(sound, ratio.numerator, ratio.denominator).astype("float32")
    return numpy.pad(sound[:samples], (0, max(0, least - len(sound[:samples]))))


def hear(sound: Any, extractor: Any, model: Any, samples: int, apply: str = "softmax") -> dict[str, float]:
    """Return the score of each label for a sound, (samples,) float32, in the model's own window."""
    import torch

    rate = extractor.sampling_rate
    window = {"padding": "max_length", "max_length": samples, "truncation": True}
    inputs = extractor(sound, sampling_rate=rate, return_tensors="pt", **window)
    with torch.no_grad():
        logits = model(input_features=inputs["input_features"]).logits[0]
    scores = {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid(), "none": logits}[apply].tolist()
    return {model.config.id2label[k]: score for k, score in enumerate(scores)}
