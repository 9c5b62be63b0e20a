"""Evaluate the winner: measure its test score, once, and pack its model as one file, and try that file.

The child calls `evaluate` after the study's last trial.
"""

import shutil
import time
from dataclasses import dataclass, replace

import torch

from luthier.studies.protocol import Assignment
from luthier.studies.results import Batching, Evaluation
from luthier.studies.semantics import MEASURED_ALONE
from luthier.studies.winner_tables import Results
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData, DamagedFile
from luthier.trials.files import file_ref
from luthier.trials.jobs import exact, reload
from luthier.trials.jobs.packed_model import WORK_PREFIX, pack
from luthier.trials.jobs.winner_tables import Surenesses, split_results
from luthier.trials.model import lora
from luthier.trials.session import Session
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.training import checkpoint
from luthier.trials.training.generation import Writing
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.setup import open_engine, prepare

ALONE = "Give it one input at a time: padding changes its answers."
"""The note on the card of a model that takes padding for a part of its input."""


@dataclass(frozen=True)
class Measured:
    """A split, measured.

    Attributes:
        encoded: As the model's inputs.
        statistics: Of the model's answers.
        sure: How sure each unit's answer is, (units,); None where the task cannot tell.
    """

    encoded: Encoded
    statistics: Statistics
    sure: torch.Tensor | None = None


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
    study = cache.open(assignment)
    _restore(assignment, session, study)
    measured: dict[str, Measured] = {}
    if study.task.settles(assignment.params):
        measured["validation"] = _measured(assignment, session, cache, study, "validation")
        study.settle(measured["validation"].statistics)
    test: Metrics | None = None
    if "test" in study.data.splits:
        measured["test"] = _measured(assignment, session, cache, study, "test")
        test = study.scores(measured["test"].statistics)
        scores = ", ".join(f"{name} {value}" for name, value in test.items())
        session.log(f"test ({len(study.data.splits['test'])} rows): {scores}")
    results = _results(assignment, session, cache, study, measured)
    length = int(assignment.params["max_length"])
    generation = assignment.spec.writing
    usage = study.task.export(study.pretrained, study.data.splits["train"], study.learned, length, generation)
    if study.batching in (Batching.EQUAL, Batching.SINGLE):
        usage = replace(usage, notes=(*usage.notes, ALONE))
    recorded = reload.record(study, usage, length, session, Writing.of_winner(assignment.spec))
    archive = pack(
        assignment,
        study,
        usage,
        test,
        results,
        session.folder,
        lambda packed, work: reload.check(packed, recorded, work, session),
    )
    return Evaluation(test=test, model=file_ref(archive), results=results)


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


def _measured(assignment: Assignment, session: Session, cache: ModelCache, study: OpenStudy, split: str) -> Measured:
    """Measure the study's model on a split, as `evaluate` has prepared it."""
    model, length = study.pretrained.model, int(assignment.params["max_length"])
    targets = study.data.targets
    writing = Writing.of_winner(assignment.spec)
    if assignment.spec.semantics >= MEASURED_ALONE:
        examples = study.task.encode_exactly(study.pretrained, study.data.splits[split], length)
        examples = examples.batched(study.batching)
        sure = Surenesses(study.task, examples)
        began = time.perf_counter()
        statistics = exact.measure(
            model, study.task, cache.micro_batch, examples, targets, session.poll, writing=writing, seen=sure.add
        )
        if writing is not None and writing.clock.seconds:
            session.log(writing.told(time.perf_counter() - began))
        return Measured(examples, statistics, sure.values())
    encoded = study.encoded(split, length)
    with open_engine(model, study, assignment, session, cache.micro_batch, {split: encoded}) as engine:
        return Measured(encoded, engine.evaluate(encoded, targets, session.poll, writing=writing))


def _results(
    assignment: Assignment, session: Session, cache: ModelCache, study: OpenStudy, measured: dict[str, Measured]
) -> Results | None:
    """Return the winner's tables; None for a study that is measured as older versions did.

    A model that writes is asked once: on validation only where there is no test split, as writing takes long.
    """
    if assignment.spec.semantics < MEASURED_ALONE:
        return None
    if "validation" not in measured and not ("test" in measured and assignment.spec.task_info.generates):
        measured["validation"] = _measured(assignment, session, cache, study, "validation")
    found = {
        name: split_results(
            study.task,
            study.data.splits[name],
            one.encoded,
            one.statistics,
            study.learned,
            study.scores(one.statistics),
            one.sure,
        )
        for name, one in measured.items()
    }
    return Results(**found)
