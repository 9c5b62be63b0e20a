"""Audio classification: a label for each sound."""

from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.tasks.audio_inputs import AudioInputs
from luthier.trials.tasks.classification import Classification


class AudioClassification(AudioInputs[ClassTargets], Classification):
    """A sound classifier."""

    name = "audio-classification"
