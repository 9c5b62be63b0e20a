"""The cost of a trial, estimated from a few steps and a part of an evaluation, which are timed.

The inspection calls `estimate` for each model, with the task's baseline.
"""

import time

from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import Assignment
from luthier.studies.results import BatchFit, Estimates
from luthier.trials.data.batches import training_batches
from luthier.trials.data.encoded import Encoded
from luthier.trials.jobs.batch_fits import largest
from luthier.trials.session import Session
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.probe import Probe, set_up_probe
from luthier.trials.training.seeding import derive, seed_everything

PROBE_SECONDS = 2.0
"""No further step is timed after so long."""
PROBE_STEPS = 20
"""Steps that are timed at most."""
PROBE_EXAMPLES = 128
"""Validation examples that a timed evaluation takes at most."""


def over_models(models: list[Estimates | None]) -> Estimates | None:
    """Return the mean time of a trial over the models, and the most memory; None where a model has no estimate."""
    found = [one for one in models if one is not None]
    if len(found) < len(models):
        return None
    seconds = sum(one.seconds_per_trial for one in found) / len(found)
    memory = max((one.memory_bytes for one in found if one.memory_bytes is not None), default=None)
    sizes = [largest(fits) for fits in zip(*(one.batch_sizes for one in found), strict=True)]
    return Estimates(seconds_per_trial=seconds, memory_bytes=memory, batch_sizes=sizes)


def estimate(
    assignment: Assignment,
    study: OpenStudy,
    params: Params,
    fits: list[BatchFit],
    session: Session,
    micro_batch: MicroBatch,
) -> Estimates:
    """Return time and memory of a trial with this configuration, from a few of its steps."""
    max_length = int(params["max_length"])
    study.encoded("train", max_length)
    validation = study.encoded("validation", max_length)
    if "test" in study.data.splits:
        study.encoded("test", max_length)  # a broken file in it shows now, not after the search
    probe = set_up_probe(assignment, study, params, micro_batch, session.log)
    batches = training_batches(probe.training.lengths, int(params["batch_size"]), derive(assignment.seed, "probe"))
    seed_everything(assignment.seed)
    step_seconds = _seconds_per_step(probe, batches, session)
    probe.meter.measure()
    evaluation_seconds = _evaluation_seconds(probe.engine, study, validation, session)
    epoch_seconds = step_seconds * len(batches) + evaluation_seconds * assignment.spec.evaluations_per_epoch
    return Estimates(
        seconds_per_trial=epoch_seconds * int(params["epochs"]),
        memory_bytes=probe.meter.measure(),
        batch_sizes=fits,
    )


def _seconds_per_step(probe: Probe, batches: list[list[int]], session: Session) -> float:
    """Return the mean time of a training step."""

    def step(batch: list[int]) -> None:
        session.poll()
        probe.engine.gradient(probe.training, batch).item()  # waits for the device
        probe.optimizer.step()

    probe.backbone.train_mode()
    step(batches[0])  # not timed: the first step also allocates memory
    started = time.perf_counter()
    steps = 0
    for batch in batches[:PROBE_STEPS]:
        step(batch)
        steps += 1
        if time.perf_counter() - started > PROBE_SECONDS:
            break
    return (time.perf_counter() - started) / steps


def _evaluation_seconds(engine: Engine, study: OpenStudy, validation: Encoded, session: Session) -> float:
    """Return the time of an evaluation of the whole split, from an evaluation of examples at equal distances in it."""
    distance = max(1, len(validation) // PROBE_EXAMPLES)
    sample = validation.sample(range(0, len(validation), distance)[:PROBE_EXAMPLES])
    started = time.perf_counter()
    engine.evaluate(sample, study.data.targets, session.poll)
    return (time.perf_counter() - started) * len(validation) / len(sample)
