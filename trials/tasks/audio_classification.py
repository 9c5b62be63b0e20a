"""Audio classification: a label for each sound."""

from luthier.studies.strategy import Generation
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.splits import Split
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.audio_inputs import AudioInputs, least_samples, most_samples, saved_extractor, window_samples
from luthier.trials.tasks.classification import Classification
from luthier.trials.tasks.usage import HERE, Usage, call, hear, read_sound, source


class AudioClassification(AudioInputs[ClassTargets], Classification):
    """A sound classifier."""

    name = "audio-classification"

    def export(
        self,
        pretrained: Pretrained,
        examples: Split,
        targets: ClassTargets,
        max_length: int,
        generation: Generation,
    ) -> Usage:
        """Save a Whisper's window with its feature extractor; the code on the card cuts sounds as the score does."""
        extractor = saved_extractor(pretrained)
        rate, window = extractor.sampling_rate, window_samples(pretrained)
        whole = window is None or window % rate == 0
        return Usage(
            tag=self.name,
            auto="AutoModelForAudioClassification",
            kind="feature_extractor",
            processor=extractor,
            names=targets.names,
            code=_code(pretrained, max_length, None if whole else window),
            notes=(
                f"The model hears the first {max_length / 1000:g} s of a sound, one channel at {rate} Hz, as it was "
                "trained and scored with; cut longer ones before. `soundfile` reads sounds, `scipy` resamples them.",
            ),
            function="pipeline" if whole else "hear",
            options={} if whole else {"samples": window},
        )


def _code(pretrained: Pretrained, max_length: int, window: int | None) -> str:
    """Return the code on a card; `window`: the samples of a window that the feature extractor's files cannot hold."""
    rate = pretrained.processor.sampling_rate
    sound = f"read_sound('sound.wav', {rate}, {most_samples(rate, max_length)}, {least_samples(pretrained)})"
    imported, functions = "pipeline", source(read_sound)
    made = f"classify = {call(AudioClassification.name, {})}\nprint(classify({sound}))"
    if window is not None:
        imported = "AutoFeatureExtractor, AutoModelForAudioClassification"
        functions += f"\n\n\n{source(hear)}"
        made = f"""\
extractor = AutoFeatureExtractor.from_pretrained({HERE!r})
model = AutoModelForAudioClassification.from_pretrained({HERE!r}).eval()
print(hear({sound}, extractor, model, {window}))"""
    return f"from typing import Any\n\nfrom transformers import {imported}\n\n\n{functions}\n\n\n{made}\n"
