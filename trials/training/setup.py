"""The set-up before a trial's first step: model, splits, engine and optimizer.

`open_trial` is for training, `open_engine` for the winner's test score; `probe.py` sets a model up for the inspection's
few steps. No loop is in here.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from luthier.studies.hyperparameters import PROBE, Params
from luthier.studies.protocol import Assignment
from luthier.studies.spec import StudySpec
from luthier.studies.spec_keys import Quantization
from luthier.trials.data.encoded import Encoded
from luthier.trials.model import lora
from luthier.trials.model.backbone import Backbone
from luthier.trials.session import Session
from luthier.trials.tasks.base import Loss
from luthier.trials.training import optim
from luthier.trials.training.compact_embeddings import CompactEmbedding, compact_embeddings
from luthier.trials.training.engine import Engine
from luthier.trials.training.generation import Writing
from luthier.trials.training.linear_layer import solved_layer
from luthier.trials.training.memory_meter import MemoryMeter
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.seeding import derive
from luthier.trials.training.unfreezing import Unfreezing


@dataclass(frozen=True)
class Trial:
    """A trial that is set up.

    Attributes:
        assignment: Configuration and seed.
        session: The line to the worker.
        study: Data and model, from the cache.
        model: Frozen to the configuration's depth, with a fresh head or adapters.
        engine: Computes gradients and statistics.
        meter: Measures memory since the set-up.
        optimization: The optimizer and the schedule of the learning rate.
        unfreezing: What is trained at each step.
        embedding: The token embeddings that the data uses; None: the model has all of its own.
        training: The split that is trained on.
        validation: The split that is evaluated on.
    """

    assignment: Assignment
    session: Session
    study: OpenStudy
    model: nn.Module
    engine: Engine
    meter: MemoryMeter
    optimization: optim.Optimization
    unfreezing: Unfreezing
    embedding: CompactEmbedding | None
    training: Encoded
    validation: Encoded

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps, one a batch."""
        return steps_per_epoch(self.training, self.assignment.params)

    @property
    def row_classes(self) -> Sequence[int] | None:
        """The class of each training row where as many rows of each class are drawn; None: an epoch has every row."""
        if self.assignment.params["sampling"] == "shuffled":
            return None
        return self.study.task.row_classes(self.training)


def prepare(
    study: OpenStudy, params: Params, seed: int, quantization: Quantization = "none"
) -> tuple[nn.Module, Backbone]:
    """Return the pretrained model with a fresh head, frozen to the configuration's depth, and its backbone.

    Args:
        study: Its model is the only copy: the changes of an earlier trial are undone.
        params: The configuration.
        seed: The trial's; head and adapters are drawn from it.
        quantization: The spec's.

    Raises:
        BadData: The configuration has adapters, and a library for them is not installed.
    """
    study.pool_as(str(params["pooling"]))
    model = study.pretrained.reset(derive(seed, "head"), float(params["dropout"]))
    if params["strategy"] == "lora":
        four_bits = quantization == "4bit"
        seed = derive(seed, "adapters")
        return model, lora.adapt(study.pretrained, study.backbone, params, seed, four_bits=four_bits)
    if params["strategy"] == PROBE:
        model.requires_grad_(False)
        solved_layer(study).requires_grad_(True)
        return model, study.backbone
    study.backbone.freeze(int(params["freeze_depth"]))
    return model, study.backbone


def steps_per_epoch(training: Encoded, params: Params) -> int:
    """Return the number of batches, and so of optimizer steps, in an epoch."""
    return math.ceil(len(training) / int(params["batch_size"]))


@contextlib.contextmanager
def open_engine(
    model: nn.Module,
    study: OpenStudy,
    assignment: Assignment,
    session: Session,
    micro_batch: MicroBatch,
    splits: Mapping[str, Encoded],
    *,
    loss: Loss | None = None,
) -> Iterator[Engine]:
    """Make the engine of a model that is frozen to its depth, with the cache and the shortcuts for `splits`.

    Args:
        model: The study's model, in evaluation mode afterwards.
        study: Data and model, from the cache.
        assignment: Configuration and precision.
        session: Polled while the cache is filled, and logged to.
        micro_batch: The number of examples that go through the model together.
        splits: Name -> examples.
        loss: What training minimises; None: the engine computes no gradients.

    Yields:
        The engine; its files are closed afterwards.
    """
    engine = Engine(model, study.task, micro_batch, loss, assignment.spec.precision)
    with contextlib.closing(engine):
        engine.enable_shortcuts(study, assignment.params, splits, session)
        yield engine


@contextlib.contextmanager
def open_trial(assignment: Assignment, session: Session, cache: ModelCache) -> Iterator[Trial]:
    """Set a trial up, at its start whether or not it resumes.

    Yields:
        The trial; its files are closed afterwards, and the model has its own embeddings again.

    Raises:
        BadData: Model or data cannot be used as the spec says.
        Ended: The trial is to end now.
        torch.OutOfMemoryError: A single example does not fit.
    """
    params = assignment.params
    study = cache.open(assignment)
    model, backbone = prepare(study, params, assignment.seed, assignment.spec.quantization)
    if params["strategy"] == "lora":
        session.log(lora.described(study.pretrained, params))
    training = study.encoded("train", int(params["max_length"])).tuned(params)
    validation = study.encoded("validation", int(params["max_length"]))
    with contextlib.ExitStack() as stack:
        # A model may write tokens that no example has.
        writes = Writing.at_evaluations(assignment.spec) is not None
        embedding = None if writes else compact_embeddings(model, (training, validation), params)
        if embedding is not None:
            stack.callback(embedding.restore)
        meter = MemoryMeter(next(model.parameters()).device)
        engine = stack.enter_context(
            open_engine(
                model,
                study,
                assignment,
                session,
                cache.micro_batch,
                {"train": training, "validation": validation},
                loss=study.loss(training, params),
            )
        )
        if (line := recompute_blocks(engine, backbone, assignment.spec, params)) is not None:
            session.log(line)
        epoch_steps = steps_per_epoch(training, params)
        yield Trial(
            assignment=assignment,
            session=session,
            study=study,
            model=model,
            engine=engine,
            meter=meter,
            optimization=optim.build(model, backbone, params, int(params["epochs"]) * epoch_steps),
            unfreezing=Unfreezing(study.backbone, params, epoch_steps),
            embedding=embedding,
            training=training,
            validation=validation,
        )


def recompute_blocks(engine: Engine, backbone: Backbone, spec: StudySpec, params: Params) -> str | None:
    """Let the blocks above the freeze depth compute their values again for their gradients, if the spec asks for it.

    Args:
        engine: Of the model, whose shortcuts are known.
        backbone: The model's.
        spec: The study's.
        params: The configuration.

    Returns:
        What is computed again, as a line of the trial's log; None where the spec does not ask for it.
    """
    if not spec.gradient_checkpointing:
        return None
    blocks = backbone.blocks[int(params["freeze_depth"]) :]
    few = engine.shortcut.first_token is not None  # the last block computes one token: there is nothing to save
    engine.recomputed = blocks[:-1] if few else blocks
    if not engine.recomputed:
        return "gradient checkpointing: no block has anything to save"
    but = "; the last one keeps them, as it computes a single token" if few else ""
    return f"gradient checkpointing: {len(engine.recomputed)} blocks compute their values again for the gradients{but}"
