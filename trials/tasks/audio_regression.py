"""Audio regression: a number for each sound."""

from luthier.trials.data.numbers import Numbers
from luthier.trials.tasks.audio_inputs import AudioInputs
from luthier.trials.tasks.regression import Regression


class AudioRegression(AudioInputs[Numbers], Regression):
    """A model that gives each sound a number."""

    name = "audio-regression"
