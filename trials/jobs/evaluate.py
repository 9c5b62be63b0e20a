"""Evaluate the winner: measure its test score, once, and pack its model as one file, and try that file.

The child calls `evaluate` after the study's last trial.
"""

import shutil
from dataclasses import replace

from luthier.studies.protocol import Assignment, Checkpoint
from luthier.studies.results import Batching, Evaluation
from luthier.studies.semantics import NOISE_MEASURED
from luthier.trials.errors import BadData, DamagedFile
from luthier.trials.files import file_ref
from luthier.trials.jobs import reload
from luthier.trials.jobs.averaging import average
from luthier.trials.jobs.measured_splits import Measurer
from luthier.trials.jobs.noise import Scored, sampling
from luthier.trials.jobs.packed_model import WORK_PREFIX, pack
from luthier.trials.jobs.recorded_answers import record
from luthier.trials.model import lora
from luthier.trials.session import Session
from luthier.trials.training import checkpoint
from luthier.trials.training.generation import Writing
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.setup import prepare

ALONE = "Give it one input at a time: padding changes its answers."
"""The note on the card of a model that takes padding for a part of its input."""


def evaluate(assignment: Assignment, session: Session, cache: ModelCache) -> Evaluation:
    """Score `assignment.checkpoint.best` on the test split, if there is one, and pack its model.

    Args:
        assignment: The winner's configuration, seed and weights.
        session: Its folder holds the weights, and gets the packed model.
        cache: Data and models that this process keeps.

    Raises:
        BadData: Model or data cannot be used as the spec says, or there are no weights.
        DamagedFile: The weights cannot be used.
        NotReproduced: The packed model does not give the predictions of the model in memory.
        Ended: The assignment is to end now.
        torch.OutOfMemoryError: A single example does not fit.
    """
    for leftover in session.folder.glob(f"{WORK_PREFIX}*"):  # each holds a whole model of an attempt that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    baseline = _baseline(assignment, session, cache)
    study = cache.open(assignment)
    _restore(assignment, session, study)
    measurer = Measurer(assignment, session, cache, study)
    metric, writing = assignment.spec.objective.metric, Writing.at_evaluations(assignment.spec)
    averaged = average(
        assignment,
        session,
        study.pretrained.model,
        lambda work: _restore(work, session, study),
        lambda: measurer.split("validation", writing).scored.value(metric),
    )
    if averaged is not None:
        about = {**assignment.provenance, "average": averaged.model_dump(mode="json")}
        assignment = assignment.model_copy(update={"provenance": about})
    measured = measurer.splits("validation", "test")
    winner = {name: one.scored for name, one in measured.items()}
    test = None
    if "test" in winner:
        test = winner["test"].scores()
        scores = ", ".join(f"{name} {value}" for name, value in test.items())
        session.log(f"test ({len(study.data.splits['test'])} rows): {scores}")
    results = measurer.tables(measured)
    noise = None if assignment.spec.semantics < NOISE_MEASURED else sampling(assignment, session, winner, baseline)
    length = int(assignment.params["max_length"])
    generation = assignment.spec.writing
    usage = study.task.export(study.pretrained, study.data.splits["train"], study.learned, length, generation)
    if study.batching in (Batching.EQUAL, Batching.SINGLE):
        usage = replace(usage, notes=(*usage.notes, ALONE))
    recorded = record(study, usage, length, session, Writing.of_winner(assignment.spec))
    archive = pack(
        assignment,
        study,
        usage,
        test,
        results,
        session.folder,
        lambda packed, work: reload.check(packed, recorded, work, session),
    )
    return Evaluation(test=test, model=file_ref(archive), results=results, sampling=noise, average=averaged)


def _baseline(assignment: Assignment, session: Session, cache: ModelCache) -> dict[str, Scored]:
    """Return the baseline's answers to the split on which the winner is compared with it; empty without its weights.

    It comes before the winner, whose model takes its place in memory. Raises as `evaluate` does, but for DamagedFile:
    a winner is measured also where the baseline's weights are damaged.
    """
    baseline = assignment.baseline
    if baseline is None:
        return {}
    weights = Checkpoint(best=baseline.weights)
    work = assignment.model_copy(update={"params": baseline.params, "seed": baseline.seed, "checkpoint": weights})
    study = cache.open(work)
    try:
        _restore(work, session, study)
    except DamagedFile as damage:
        session.log(f"The baseline is not measured: {damage}")
        return {}
    compared = "test" if "test" in study.data.splits else "validation"
    return {name: one.scored for name, one in Measurer(work, session, cache, study).splits(compared).items()}


def _restore(assignment: Assignment, session: Session, study: OpenStudy) -> None:
    """Give the study's model the winner's weights, its adapters merged. Raises BadData, DamagedFile."""
    prepare(study, assignment.params, assignment.seed, assignment.spec.quantization)
    best = assignment.checkpoint.best
    if best is None:
        raise BadData("The study has no finished trial, so there is no model to measure.")
    try:
        tensors, about = checkpoint.read(session.folder / best.name)
        checkpoint.load_trained(study.pretrained.model, tensors, about.get("decay", 1.0))
    except (OSError, ValueError) as error:
        raise DamagedFile(f"The winner's weights cannot be used: {error}.") from error
    lora.merge(study.pretrained)  # from here on the model is the same that people will load
