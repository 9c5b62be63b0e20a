"""Image classification with several labels: any number of labels for each image."""

from luthier.trials.data.label_set_targets import LabelSetTargets
from luthier.trials.tasks.image_inputs import ImageInputs
from luthier.trials.tasks.multilabel import Multilabel


class ImageMultilabelClassification(ImageInputs[LabelSetTargets], Multilabel):
    """A classifier that gives each image any number of labels."""

    name = "image-multilabel-classification"
