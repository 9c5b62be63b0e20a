"""Tiny random models of every task's architectures, with hand-made inputs, for the frozen-prefix cache alone.

ZOO[task][name]     a model: its class, its configuration, and a split of inputs whose rows differ in length
zoo_context(...)    what the cache needs to know about one

No processor, no file and no task code is used; docs/prefix_table.py makes its table from them.
"""

from tests.support.zoo.inputs import Model, zoo_context
from tests.support.zoo.speech import SPEECH_MODELS
from tests.support.zoo.text import TEXT_MODELS
from tests.support.zoo.vision import VISION_MODELS

__all__ = ["ZOO", "Model", "zoo_context"]

ZOO: dict[str, dict[str, Model]] = {**TEXT_MODELS, **SPEECH_MODELS, **VISION_MODELS}
