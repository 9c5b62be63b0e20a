"""Before a study's first trial: open model and data, check both, and say what they are and what a trial will cost."""

import math
import time
from typing import Any

from pydantic import ValidationError

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment, Estimates, Inspection
from luthier.trials.data.batches import training_batches
from luthier.trials.errors import BadData
from luthier.trials.jobs.batch_fits import batch_fits, largest
from luthier.trials.model import lora
from luthier.trials.session import Session
from luthier.trials.training import optim
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache, OpenStudy
from luthier.trials.training.seeding import derive, seed_everything
from luthier.trials.training.setup import prepare

PROBE_SECONDS = 2.0
PROBE_STEPS = 20


def inspect(assignment: Assignment, session: Session, warm: ModelCache) -> Inspection:
    """Everything about model and data that the service and later trials need. Raises BadData, session.Ended."""
    spec = assignment.spec
    rows = warm.open(assignment).data.rows
    largest = int(spec.space.largest("batch_size"))
    if math.ceil(rows["train"] / largest) < spec.evaluations_per_epoch:
        raise BadData(
            f"{rows['train']} training rows in batches of {largest} are fewer steps than "
            f"evaluations_per_epoch ({spec.evaluations_per_epoch}); lower it, or the largest batch_size.",
            "evaluations_per_epoch",
        )
    models: list[dict[str, Any]] = []
    dropout = spec.space.offers("strategy", "lora")  # adapters have a dropout of their own
    estimates: list[Estimates | None] = []
    for name in spec.models:
        opened = warm.open(assignment, name)
        opened.pretrained.reset(0)
        if spec.space.offers("strategy", "lora"):
            lora.check(opened.backbone)
        dropout |= bool(opened.pretrained.dropout)
        table, sizes = opened.backbone.table(), opened.backbone.trainable_parameters()
        models.append({"blocks": table, "trainable_parameters": sizes})
        estimates.append(_estimate(assignment, name, opened, session, warm))
    if not dropout and float(spec.space.largest("dropout")) >= 0:
        text = f"{', '.join(spec.models)} has no dropout layer, so dropout changes nothing; leave it out."
        raise BadData(text, "space", "dropout")
    return Inspection(
        **models[0],
        others=models[1:],
        label_names=opened.data.label_names,
        labels=opened.data.labels,
        rows=rows,
        fingerprint=opened.data.fingerprint,
        estimates=_mean(estimates),
    )


def _mean(models: list[Estimates | None]) -> Estimates | None:
    """Over the models: the mean time of a trial, and the most memory."""
    known = [estimates for estimates in models if estimates is not None]
    if len(known) < len(models):
        return None
    seconds = sum(estimates.seconds_per_trial for estimates in known) / len(known)
    memory = max((estimates.memory_bytes for estimates in known if estimates.memory_bytes is not None), default=None)
    sizes = [largest(fits) for fits in zip(*(estimates.batch_sizes for estimates in known), strict=True)]
    return Estimates(seconds_per_trial=seconds, memory_bytes=memory, batch_sizes=sizes)


def _estimate(
    assignment: Assignment, name: str, opened: OpenStudy, session: Session, warm: ModelCache
) -> Estimates | None:
    """Time and memory of the baseline, from a few of its steps; None where the space does not fit the model."""
    spec = assignment.spec
    try:
        space = spec.space.resolved(*(opened.backbone.depth for _ in spec.models))  # the others' depths don't matter
    except ValidationError:  # the service says so, with the path
        return None
    baseline = spec.task_info.baseline
    params = space.assigned(complete(space.clip({**baseline, "model": name}), baseline))
    sizes = batch_fits(assignment, opened, warm.micro_batch, space, params)
    for size in sizes:
        if not size.fits:  # then no trial has to find out; on the CPU it would not survive that
            warm.micro_batch.lower(size.micro_batch)
    training = opened.encoded("train", int(params["max_length"]))
    validation = opened.encoded("validation", int(params["max_length"]))
    if "test" in opened.data.splits:
        opened.encoded("test", int(params["max_length"]))  # a broken file in it shows now, not after the search
    model, backbone = prepare(opened, params, assignment.seed)
    computer = Engine(model, opened.task, warm.micro_batch, precision=spec.precision)
    computer.settle_precision(opened, training, session.log)
    computer.reset_peak()
    optimizer = optim.make_optimizer(optim.parameter_groups(model, backbone.layers, backbone.depth + 1, params), params)
    batches = training_batches(training.lengths, int(params["batch_size"]), derive(assignment.seed, "probe"))

    def step(batch: list[int]) -> None:
        session.poll()
        computer.gradient(training, batch).item()
        optimizer.step()

    seed_everything(assignment.seed)
    backbone.train_mode()
    step(batches[0])  # the first one allocates, and is no measure
    started, done = time.perf_counter(), 0
    for batch in batches[:PROBE_STEPS]:
        step(batch)
        done += 1
        if time.perf_counter() - started > PROBE_SECONDS:
            break
    step_seconds = (time.perf_counter() - started) / done
    memory = computer.memory()
    sample = validation.sample(range(0, len(validation), max(1, len(validation) // 128))[:128])
    started = time.perf_counter()
    computer.predict(sample, session.poll)
    evaluation_seconds = (time.perf_counter() - started) * len(validation) / len(sample)
    epoch_seconds = step_seconds * len(batches) + evaluation_seconds * spec.evaluations_per_epoch
    memory = max(memory, computer.memory())
    seconds = epoch_seconds * int(params["epochs"])
    return Estimates(seconds_per_trial=seconds, memory_bytes=memory, batch_sizes=sizes)
