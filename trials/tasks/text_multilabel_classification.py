"""Text classification with several labels: any number of labels for each text or pair of texts."""

from luthier.trials.data.label_set_targets import LabelSetTargets
from luthier.trials.tasks.multilabel import Multilabel
from luthier.trials.tasks.text_inputs import TextInputs


class TextMultilabelClassification(TextInputs[LabelSetTargets], Multilabel):
    """A classifier that gives each text any number of labels."""

    name = "text-multilabel-classification"
