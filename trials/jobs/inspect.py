"""Inspect a study before its first trial: open and check models and data, estimate the cost of trials.

The child calls `inspect` once for each study. It never changes a later trial's scores.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydantic import ValidationError

from luthier.studies.findings import MOST_FINDINGS, Finding, warnings_of
from luthier.studies.hyperparameters import Params, complete
from luthier.studies.protocol import Assignment
from luthier.studies.results import Estimates, Inspection, Majority, ModelSummary
from luthier.studies.semantics import BATCHING_FOUND, POOLING_PROBED, STRATEGIES_REACH
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec
from luthier.trials.data.input_lengths import InputLengths
from luthier.trials.errors import BadData
from luthier.trials.jobs.batch_fits import batch_fits
from luthier.trials.jobs.depth_probe import probe_depths
from luthier.trials.jobs.doubts import doubt_findings
from luthier.trials.jobs.estimates import estimate, over_models
from luthier.trials.jobs.length_findings import auto_length, length_findings
from luthier.trials.jobs.lookups import check_lookups
from luthier.trials.jobs.neighbours import batching_findings, find_batching
from luthier.trials.jobs.pooling_choice import choose_pooling
from luthier.trials.jobs.references import reference_scores
from luthier.trials.jobs.solve import check_solvable
from luthier.trials.model import lora
from luthier.trials.model.strategy_reach import check_reach
from luthier.trials.session import Session
from luthier.trials.tasks.mixing import mixing_findings
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.open_study import OpenStudy


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
    lengths = _input_lengths(assignment, session, cache)
    auto = auto_length(spec, lengths.values())
    report = _Report(session)
    report.add(data.findings)
    report.add(mixing_findings(spec.augmentation, spec.space))
    report.add(length_findings(spec, lengths, auto, data.splits["train"]))
    _check_evaluations(spec, data.rows["train"])
    models = [_inspect_model(assignment, name, auto, report, session, cache) for name in spec.models]
    report.check(spec)  # once more, for a space that fits none of the models
    if not (_adapters_drop(spec.space) or any(model.dropout for model in models)):
        _check_dropout(spec)
    first, *further = (model.summary for model in models)
    return Inspection(
        blocks=first.blocks,
        trainable_parameters=first.trainable_parameters,
        batching=first.batching,
        pooling=first.pooling,
        probe=first.probe,
        further_models=further,
        label_names=data.label_names,
        labels=data.labels,
        rows=data.rows,
        fingerprint=data.fingerprint,
        estimates=over_models([model.estimates for model in models]),
        max_length=auto,
        findings=report.findings[:MOST_FINDINGS],
        majority=report.majority,
    )


class _Report:
    """What is found for the study's users.

    Attributes:
        findings: All that was found so far; each is logged, too.
        majority: The scores of the most frequent answer, once they are known.
    """

    def __init__(self, session: Session) -> None:
        self.findings: list[Finding] = []
        self.majority: Majority | None = None
        self._session = session

    def add(self, found: Iterable[Finding]) -> None:
        """Log findings and keep them."""
        for finding in found:
            self._session.log(f"{finding.severity}: {finding.text}")
            self.findings.append(finding)

    def check(self, spec: StudySpec) -> None:
        """Raise BadData where there are warnings, and the spec lets none of them pass."""
        warnings = warnings_of(self.findings)
        if spec.dataset.strict and warnings:
            told = " ".join(finding.text for finding in warnings)
            text = f"what was found is refused: {told} Mend it, or leave strict out."
            raise BadData(text, "dataset", "strict")


@dataclass(frozen=True)
class _InspectedModel:
    """What is found of one model; without estimates where the space does not fit it."""

    summary: ModelSummary
    dropout: bool  # it has a layer that drops values
    estimates: Estimates | None = None


def _input_lengths(assignment: Assignment, session: Session, cache: ModelCache) -> dict[str, InputLengths | None]:
    """Return model -> the lengths of the training inputs; empty for a task whose inputs have one size."""
    spec = assignment.spec
    models = spec.models if spec.task_info.has_lengths else ()
    return {name: cache.open(assignment, name).input_lengths(session.poll) for name in models}


def _inspect_model(
    assignment: Assignment, name: str, auto: int | None, report: _Report, session: Session, cache: ModelCache
) -> _InspectedModel:
    """Inspect one of the study's models; `auto`: what `max_length: auto` stands for. Raises as `inspect` does."""
    spec = assignment.spec
    study = cache.open(assignment, name)
    found = _InspectedModel(_summary(spec, study), dropout=bool(study.pretrained.dropout))
    space = _resolved_space(spec, study, auto)
    if space is None:  # the service reports that, with the path
        return found
    if spec.semantics >= STRATEGIES_REACH:
        check_reach(study.backbone, space, name)
    params = _baseline(spec, space, name)
    longest = int(space.largest("max_length") if "max_length" in space else params["max_length"])
    report.add(check_lookups(study, longest, spec.writing))
    check_solvable(space, study, longest)
    if spec.semantics >= BATCHING_FOUND:
        study.batch_as(find_batching(study, longest))
        report.add(batching_findings(name, study.batching))
    probe = probe_depths(spec, study, longest, session.poll, session.log)  # the others take over its features
    pooling = None
    if spec.semantics >= POOLING_PROBED:
        pooling = choose_pooling(spec, study, longest, session.poll, session.log)
    if report.majority is None:
        report.add(doubt_findings(study, longest, session.poll))
        references = reference_scores(spec, study, longest)
        report.majority = references.majority
        report.add(references.findings)
    report.check(spec)  # all that can be a warning is known now; what follows takes the longest
    fits = batch_fits(assignment, study, cache.micro_batch, space, params)
    for fit in fits:
        if not fit.fits:
            cache.micro_batch.lower(fit.micro_batch)
    summary = found.summary.model_copy(update={"batching": study.batching, "pooling": pooling, "probe": probe})
    estimates = estimate(assignment, study, params, fits, session, cache.micro_batch)
    return replace(found, summary=summary, estimates=estimates)


def _check_evaluations(spec: StudySpec, training_rows: int) -> None:
    """Raise BadData where an epoch has fewer optimizer steps than evaluations."""
    batch_size = int(spec.space.largest("batch_size"))
    if math.ceil(training_rows / batch_size) < spec.evaluations_per_epoch:
        raise BadData(
            f"{training_rows} training rows in batches of {batch_size} are fewer steps than "
            f"evaluations_per_epoch ({spec.evaluations_per_epoch}); lower it, or the largest batch_size.",
            "evaluations_per_epoch",
        )


def _adapters_drop(space: Space) -> bool:
    """Return whether adapters may take their dropout from the hyperparameter `dropout`."""
    own = "lora_dropout" in space and float(space.least("lora_dropout")) >= 0
    return space.offers("strategy", "lora") and not own


def _check_dropout(spec: StudySpec) -> None:
    """Raise BadData where the space has a dropout, which the models have no layer for."""
    if float(spec.space.largest("dropout")) >= 0:
        text = f"{', '.join(spec.models)} has no dropout layer, so dropout changes nothing; leave it out."
        raise BadData(text, "space", "dropout")


def _summary(spec: StudySpec, study: OpenStudy) -> ModelSummary:
    """Return a model's blocks and sizes. Raises BadData where the space has adapters and they do not fit the model."""
    study.pretrained.reset(0)
    if spec.space.offers("strategy", "lora"):
        lora.check(study.backbone, spec.space, study.name)
    if spec.quantization != "none":
        lora.check_rounding(study.backbone, study.name)
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
