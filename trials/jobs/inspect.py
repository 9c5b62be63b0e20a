"""Inspect a study before its first trial: open and check models and data, estimate the cost of trials.

The child calls `inspect` once for each study. It never changes a later trial's scores.
"""

import math
import time
from collections.abc import Sequence

from pydantic import ValidationError

from luthier.studies.findings import MOST_FINDINGS, Finding, warnings_of
from luthier.studies.hyperparameters import Params, complete
from luthier.studies.protocol import Assignment
from luthier.studies.results import BatchFit, Estimates, Inspection, ModelSummary
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec
from luthier.trials.data.batches import training_batches
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.jobs.batch_fits import batch_fits, largest
from luthier.trials.jobs.length_findings import auto_length, length_findings
from luthier.trials.jobs.lookups import check_lookups
from luthier.trials.jobs.neighbours import batching_findings, find_batching
from luthier.trials.jobs.references import ReferenceScores, reference_scores
from luthier.trials.model import lora
from luthier.trials.session import Session
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache, OpenStudy
from luthier.trials.training.seeding import derive, seed_everything
from luthier.trials.training.setup import Probe, set_up_probe

PROBE_SECONDS = 2.0
"""No further step is timed after so long."""
PROBE_STEPS = 20
"""Steps that are timed at most."""
PROBE_EXAMPLES = 128
"""Validation examples that a timed evaluation takes at most."""


def inspect(assignment: Assignment, session: Session, cache: ModelCache) -> Inspection:
    """Open and check models and data, and return all facts about them that the service and later trials need.

    Batch sizes that do not fit in memory lower the cache's micro-batch, so that no trial has to run out of memory
    first; on the CPU a trial would not survive that.

    Args:
        assignment: The study's spec.
        session: The line to the worker.
        cache: Data and models that this process keeps.

    Raises:
        BadData: Model or data cannot be used as the spec says.
        Ended: The assignment is to end now.
    """
    spec = assignment.spec
    data = cache.open(assignment).data
    measured = spec.models if spec.task_info.has_lengths else ()
    lengths = {name: cache.open(assignment, name).input_lengths(session.poll) for name in measured}
    auto = auto_length(spec, lengths.values())
    findings = list[Finding]()
    _report(spec, [*data.findings, *length_findings(spec, lengths, auto, data.splits["train"])], findings, session)
    _check_evaluations(spec, data.rows["train"])
    models, estimates = list[ModelSummary](), list[Estimates | None]()
    references = ReferenceScores()
    dropout = spec.space.offers("strategy", "lora")  # adapters have a dropout of their own
    for name in spec.models:
        study = cache.open(assignment, name)
        summary = _summary(spec, study)
        dropout |= bool(study.pretrained.dropout)
        space = _resolved_space(spec, study, auto)
        if space is None:  # the service reports that, with the path
            models.append(summary)
            estimates.append(None)
            continue
        params = _baseline(spec, space, name)
        longest = int(space.largest("max_length") if "max_length" in space else params["max_length"])
        check_lookups(study, longest)
        if spec.semantics >= 2:
            study.batch_as(find_batching(study, longest))
            _report(spec, batching_findings(name, study.batching), findings, session)
        models.append(summary.model_copy(update={"batching": study.batching}))
        if references.majority is None:
            references = reference_scores(spec, study, longest)
            _report(spec, references.findings, findings, session)
        fits = batch_fits(assignment, study, cache.micro_batch, space, params)
        _lower(cache.micro_batch, fits)
        estimates.append(_estimate(assignment, study, params, fits, session, cache.micro_batch))
    if not dropout:
        _check_dropout(spec)
    return Inspection(
        blocks=models[0].blocks,
        trainable_parameters=models[0].trainable_parameters,
        batching=models[0].batching,
        further_models=models[1:],
        label_names=study.data.label_names,
        labels=study.data.labels,
        rows=study.data.rows,
        fingerprint=study.data.fingerprint,
        estimates=_over_models(estimates),
        max_length=auto,
        findings=findings[:MOST_FINDINGS],
        majority=references.majority,
    )


def _report(spec: StudySpec, found: Sequence[Finding], findings: list[Finding], session: Session) -> None:
    """Log what was found and add it to `findings`.

    Raises:
        BadData: There are warnings, and the spec has none of them pass.
    """
    for finding in found:
        session.log(f"{finding.severity}: {finding.text}")
    findings += found
    warnings = warnings_of(findings)
    if spec.dataset.strict and warnings:
        told = " ".join(finding.text for finding in warnings)
        text = f"dataset.strict refuses what was found: {told} Mend it, or leave strict out."
        raise BadData(text, "dataset", "strict")


def _lower(micro_batch: MicroBatch, fits: Sequence[BatchFit]) -> None:
    """Lower the micro-batch to what fits of each batch size."""
    for fit in fits:
        if not fit.fits:
            micro_batch.lower(fit.micro_batch)


def _check_evaluations(spec: StudySpec, training_rows: int) -> None:
    """Raise BadData where an epoch has fewer optimizer steps than evaluations."""
    batch_size = int(spec.space.largest("batch_size"))
    if math.ceil(training_rows / batch_size) < spec.evaluations_per_epoch:
        raise BadData(
            f"{training_rows} training rows in batches of {batch_size} are fewer steps than "
            f"evaluations_per_epoch ({spec.evaluations_per_epoch}); lower it, or the largest batch_size.",
            "evaluations_per_epoch",
        )


def _check_dropout(spec: StudySpec) -> None:
    """Raise BadData where the space has a dropout, which the models have no layer for."""
    if float(spec.space.largest("dropout")) >= 0:
        text = f"{', '.join(spec.models)} has no dropout layer, so dropout changes nothing; leave it out."
        raise BadData(text, "space", "dropout")


def _summary(spec: StudySpec, study: OpenStudy) -> ModelSummary:
    """Return a model's blocks and sizes. Raises BadData where the space has adapters and they do not fit the model."""
    study.pretrained.reset(0)
    if spec.space.offers("strategy", "lora"):
        lora.check(study.backbone)
    backbone = study.backbone
    return ModelSummary(blocks=backbone.table(), trainable_parameters=backbone.trainable_parameters())


def _resolved_space(spec: StudySpec, study: OpenStudy, length: int | None) -> Space | None:
    """Return the space with freeze depths as numbers of this model's blocks; None where it does not fit the model."""
    depths = (study.backbone.depth for _ in spec.models)  # the others' depths don't matter
    try:
        return spec.space.resolved(*depths, length=length)
    except ValidationError:
        return None


def _baseline(spec: StudySpec, space: Space, model: str) -> Params:
    """Return the task's baseline for a model, moved into the space."""
    baseline = spec.task_info.baseline
    return space.assigned(complete(space.baseline({**baseline, "model": model}), baseline))


def _over_models(models: list[Estimates | None]) -> Estimates | None:
    """Return the mean time of a trial over the models, and the most memory; None where a model has no estimate."""
    estimates = [estimate for estimate in models if estimate is not None]
    if len(estimates) < len(models):
        return None
    seconds = sum(estimate.seconds_per_trial for estimate in estimates) / len(estimates)
    memory = max((estimate.memory_bytes for estimate in estimates if estimate.memory_bytes is not None), default=None)
    sizes = [largest(fits) for fits in zip(*(estimate.batch_sizes for estimate in estimates), strict=True)]
    return Estimates(seconds_per_trial=seconds, memory_bytes=memory, batch_sizes=sizes)


def _estimate(
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
