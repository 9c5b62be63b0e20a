"""Compare a schedule's champion and its challenger on the same test examples, for a promotion.

The child calls `compare`; both models are packed files. Examples that either model was trained or chosen on are left
out for both: a split that a user made may hold some of the challenger's own training rows, and so may repeated rows.
Both are scored in plain float32. Where the metric is no mean over examples, it is also computed on replicates.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from luthier.studies.protocol import Assignment
from luthier.studies.results import Comparison
from luthier.studies.semantics import INPUTS_UNITED
from luthier.studies.wire import FileRef
from luthier.trials.data.repeats import plain_columns
from luthier.trials.data.row_digests import row_digests
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.clusters import related
from luthier.trials.jobs.packed_model import PackedModel, unpack
from luthier.trials.jobs.predictions import Predictions, count_gained, predict, write_predictions
from luthier.trials.jobs.replicates import Replicates
from luthier.trials.session import Session
from luthier.trials.training.model_cache import ModelCache

WORK_PREFIX = ".rival-"
"""Folders in which models are unpacked; a folder that is left over comes from a process that was killed."""


def compare(assignment: Assignment, session: Session, cache: ModelCache) -> Comparison:
    """Score `assignment.champion` and `assignment.challenger`, in that order, on the test split.

    Args:
        assignment: Spec, seed and the two packed models.
        session: Its folder holds the models, and gets the file of predictions.
        cache: Data that this process keeps.

    Raises:
        BadData: There is no test split, or data or models cannot be used.
        Ended: The assignment is to end now.
        torch.OutOfMemoryError: A single example does not fit.
    """
    for leftover in session.folder.glob(f"{WORK_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    data = cache.data(assignment)
    test = data.splits.get("test")
    if test is None or assignment.champion is None or assignment.challenger is None:
        raise BadData("There is no test split to compare models on; give dataset.test.", "dataset", "test")
    work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=session.folder))
    try:
        refs = (assignment.champion, assignment.challenger)
        packed = [unpack(session.folder, ref, work, assignment.spec.task) for ref in refs]
        rows = _unseen_rows(test, packed, assignment.spec.semantics)
        models = [
            predict(model, test.take(rows), data.targets, assignment.spec, session, cache.micro_batch)
            for model in packed
            if rows
        ]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    session.log(f"compared on {len(rows)} of {len(test)} test examples; a model has seen the others")
    return _comparison(assignment, session, test, rows, models)


def _unseen_rows(test: Split, models: Sequence[PackedModel], semantics: int) -> list[int]:
    """Return the numbers of the test examples that none of the models was trained or chosen on."""
    seen = frozenset[bytes]().union(*(model.seen for model in models))
    marks = [row_digests(test.columns)]
    if semantics >= INPUTS_UNITED:  # a model of an earlier version has marks of inputs as they were written
        marks.append(row_digests(plain_columns(test.columns)))
    return [row for row, forms in enumerate(zip(*marks, strict=True)) if seen.isdisjoint(forms)]


def _empty_comparison(excluded: int, predictions: FileRef) -> Comparison:
    """Return the comparison of models that have seen every example of the test split."""
    return Comparison(
        examples=0,
        excluded=excluded,
        labelled_units=0,
        independent=False,
        champion={},
        challenger={},
        gained=0,
        lost=0,
        predictions=predictions,
    )


def _comparison(
    assignment: Assignment,
    session: Session,
    test: Split,
    rows: list[int],
    models: Sequence[Predictions],
) -> Comparison:
    """Write the predictions, score both models and return the result.

    `rows` are the compared examples of the test split; where there are none, there are no predictions either.
    """
    predictions = file_ref(write_predictions(session.folder, rows, models))
    excluded = len(test) - len(rows)
    if not models:
        return _empty_comparison(excluded, predictions)
    groups = related(test.take(rows), assignment.spec.semantics)
    return paired(assignment, session, models, groups, excluded=excluded, predictions=predictions)


def paired(
    assignment: Assignment,
    session: Session,
    models: Sequence[Predictions],
    groups: Sequence[str] | None,
    *,
    excluded: int,
    predictions: FileRef,
) -> Comparison:
    """Score the answers of champion and challenger to the same examples, with replicates where the test needs them.

    Args:
        assignment: Seed and objective.
        session: Polled between replicates.
        models: The champion's answers, and the challenger's.
        groups: (examples,) examples with the same value are related and stay together; None: none are.
        excluded: The number of test examples that were left out.
        predictions: The file of the answers.

    Raises:
        Ended: The assignment is to end now.
    """
    champion, challenger = models
    independent = groups is None and champion.statistics.offsets is None
    exchanged: list[float] = []
    resampled: list[float] = []
    spec = assignment.spec
    if not (independent and spec.task_info.is_binary(spec.objective.metric)):
        replicates = Replicates(assignment, session, champion, challenger, groups)
        exchanged, resampled = replicates.draw()
    return Comparison(
        examples=len(champion.statistics),
        excluded=excluded,
        labelled_units=champion.statistics.unit_count,
        independent=independent,
        champion=champion.scores(),
        challenger=challenger.scores(),
        gained=count_gained(champion, challenger),
        lost=count_gained(challenger, champion),
        exchanged=exchanged,
        resampled=resampled,
        predictions=predictions,
    )
