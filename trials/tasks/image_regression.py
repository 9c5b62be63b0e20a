"""Image regression: a number for each image."""

from luthier.trials.data.numbers import Numbers
from luthier.trials.tasks.image_inputs import ImageInputs
from luthier.trials.tasks.regression import Regression


class ImageRegression(ImageInputs[Numbers], Regression):
    """A model that gives each image a number."""

    name = "image-regression"
