"""Scores without a model: of the most frequent answer, and whether a split tells good answers from bad ones.

The inspection calls `reference_scores`. A metric that scores the best and the worst answers alike (the area under the
ROC curve with one class, F1 without an entity) can choose no winner. So it is found for every metric, whatever it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.studies.findings import Finding, note, warning
from luthier.studies.results import Majority
from luthier.studies.semantics import BLIND_OBJECTIVE_REFUSED
from luthier.studies.spec import StudySpec
from luthier.studies.wire import Metrics, cut
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.scoring import Constant, Reference
from luthier.trials.training.collector import Collector
from luthier.trials.training.open_study import OpenStudy

LONGEST_NAME = 1_000  # characters
ROWS = 1024
"""Rows that are answered together."""


@dataclass(frozen=True)
class ReferenceScores:
    """What scores mean on a study's data.

    Attributes:
        majority: The scores of the most frequent answer; None where the task has no constant answer.
        findings: Metrics that a split cannot measure.
    """

    majority: Majority | None = None
    findings: Sequence[Finding] = ()


def reference_scores(spec: StudySpec, study: OpenStudy, max_length: int) -> ReferenceScores:
    """Score answers without a model on validation and test.

    Args:
        spec: The study's.
        study: Its data and one of its models.
        max_length: The length of inputs at which the splits are encoded already.

    Raises:
        BadData: The validation split cannot measure the objective.
    """
    task, data = study.task, study.data
    if why := data.targets.unmeasured.get(spec.objective.metric):
        raise BadData(f"{spec.objective.metric} cannot be measured: {why}.", "objective", "metric")
    constant = task.constant(data.splits["train"].targets, data.targets)
    if constant is None:
        return ReferenceScores()
    scores: dict[str, Metrics] = {}
    findings: list[Finding] = []
    for split in ("validation", "test"):
        if split in data.splits:
            found = _scores(task, study.encoded(split, max_length), constant, data.targets)
            scores[split] = found[Reference.CONSTANT]
            findings += _unmeasured(spec, split, found)
    if not constant.told:
        return ReferenceScores(findings=findings)
    majority = Majority(
        label=cut(constant.name, LONGEST_NAME), validation=scores["validation"], test=scores.get("test")
    )
    return ReferenceScores(majority, findings)


def _scores(task: TaskCode[Any], encoded: Encoded, constant: Constant, targets: Any) -> dict[Reference, Metrics]:
    """Return every reference's scores on a split."""
    found = {}
    for reference in Reference:
        collector = Collector(task, encoded, targets, targets)
        for start in range(0, len(encoded), ROWS):
            rows = range(start, min(start + ROWS, len(encoded)))
            units = task.collate_targets(encoded, rows)
            collector.add(rows, task.reference_answers(reference, constant, units, targets))
        found[reference] = task.scores(collector.statistics(), targets)
    return found


def _unmeasured(spec: StudySpec, split: str, found: Mapping[Reference, Metrics]) -> Iterator[Finding]:
    """Yield a finding about the metrics that a split cannot measure.

    Raises:
        BadData: It is the validation split, and the objective is one of them.
    """
    right, wrong = found[Reference.RIGHT], found[Reference.WRONG]
    metrics = [metric.name for metric in spec.task_info.metrics]
    blind = [name for name in metrics if right[name] == wrong[name]]
    objective = spec.objective.metric
    able = " or ".join(name for name in metrics if name not in blind)
    if objective in blind:
        value = "is undefined" if right[objective] is None else f"is {right[objective]} for the best and worst answers"
        text = f"{objective} cannot be measured on the {split} split of these data: it {value}."
        kinds = next((metric.needs for metric in spec.task_info.metrics if metric.needs), "of all labels")
        cure = f"Give that split rows {kinds} (dataset.{split}), or choose {able} as objective.metric."
        if split == "validation" and spec.semantics >= BLIND_OBJECTIVE_REFUSED:
            raise BadData(f"{text} {cure}", "objective", "metric")
        yield warning("objective-not-measured", text, cure)
    if others := [name for name in blind if name != objective]:
        text = f"The {split} split cannot measure {', '.join(others)}: good and bad answers score the same."
        yield note("metrics-not-measured", text, len(others), others)
