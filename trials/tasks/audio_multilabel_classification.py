"""Audio classification with several labels: any number of labels for each sound."""

from luthier.trials.data.label_set_targets import LabelSetTargets
from luthier.trials.tasks.audio_inputs import AudioInputs
from luthier.trials.tasks.multilabel import Multilabel


class AudioMultilabelClassification(AudioInputs[LabelSetTargets], Multilabel):
    """A classifier that gives each sound any number of labels."""

    name = "audio-multilabel-classification"
