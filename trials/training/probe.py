"""A model set up for a few training steps, whose time and memory are measured.

The inspection estimates by it what trials cost, and which batches fit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Assignment
from luthier.trials.data.encoded import Encoded
from luthier.trials.model.backbone import Backbone
from luthier.trials.training import optim
from luthier.trials.training.engine import Engine
from luthier.trials.training.memory_meter import MemoryMeter
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.setup import prepare, recompute_blocks, steps_per_epoch


@dataclass(frozen=True)
class Probe:
    """A model set up for a few training steps, whose time and memory are measured.

    Attributes:
        model: Frozen to the configuration's depth, with a fresh head or adapters.
        backbone: The model's.
        engine: Computes gradients.
        meter: Measures memory since the set-up.
        optimizer: The configuration's.
        training: The split that the steps' examples are of.
    """

    model: nn.Module
    backbone: Backbone
    engine: Engine
    meter: MemoryMeter
    optimizer: torch.optim.Optimizer
    training: Encoded


def set_up_probe(
    assignment: Assignment,
    study: OpenStudy,
    params: Params,
    micro_batch: MicroBatch,
    log: Callable[[str], None] = lambda text: None,
) -> Probe:
    """Set a model up for a few steps that are not reported.

    Args:
        assignment: Seed and precision.
        study: Data and model, from the cache.
        params: The configuration of the steps.
        micro_batch: The number of examples that go through the model together.
        log: Writes a line into the assignment's log.

    Raises:
        BadData: The configuration has adapters, and peft is not installed.
    """
    model, backbone = prepare(study, params, assignment.seed, assignment.spec.quantization)
    training = study.encoded("train", int(params["max_length"])).tuned(params)
    engine = Engine(model, study.task, micro_batch, study.loss(training, params), assignment.spec.precision)
    engine.settle_layout(study, training, log)
    engine.settle_precision(study, training, log)
    recompute_blocks(engine, backbone, assignment.spec, params)
    optimizer = optim.build(model, backbone, params, steps_per_epoch(training, params)).optimizer
    return Probe(model, backbone, engine, MemoryMeter(engine.device), optimizer, training)
