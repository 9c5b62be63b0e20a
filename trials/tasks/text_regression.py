"""Text regression: a number for each text or pair of texts."""

from luthier.trials.data.numbers import Numbers
from luthier.trials.tasks.regression import Regression
from luthier.trials.tasks.text_inputs import TextInputs


class TextRegression(TextInputs[Numbers], Regression):
    """A model that gives each text a number."""

    name = "text-regression"
