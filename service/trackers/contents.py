"""Studies and trials as the flat parameters, scores and facts that trackers keep. The names are Luthier's own."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from luthier.service.schemas import StudyView, TrialView

Value = str | int | float | bool


def identity(study: StudyView) -> str:
    """Return 16 hexadecimal digits that a study keeps, and that a later study of the same name does not share."""
    return hashlib.sha256(f"{study.name} {study.created_at.isoformat()}".encode()).hexdigest()[:16]


def run_id(study: StudyView, number: int | None = None) -> str:
    """Return the id of the run of a study, or of one of its trials: the same each time."""
    return identity(study) if number is None else f"{identity(study)}-{number}"


def run_name(study: StudyView, number: int) -> str:
    """Return the name of a trial's run, as `sms-spam trial 3`."""
    return f"{study.name} trial {number}"


def study_params(study: StudyView) -> dict[str, Value]:
    """Return a study's spec, flat: `space.learning_rate.low`; lists as JSON text."""
    return dict(_flat({key: value for key, value in study.spec.items() if key != "name"}, ""))


def trial_params(trial: TrialView) -> dict[str, Value]:
    """Return a trial's configuration and its seed."""
    return dict(_flat({**trial.params, "seed": trial.seed}, ""))


def _flat(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Value]]:
    """Yield the values of a document with their paths; what is null is left out."""
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, str | int | float):
            yield f"{prefix}{key}", value
        elif value is not None:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False)


def scores(metrics: Mapping[str, float | None], prefix: str = "") -> dict[str, float]:
    """Return those of the scores that are finite."""
    return {f"{prefix}{name}": value for name, value in metrics.items() if value is not None}


def trial_scores(trial: TrialView) -> dict[str, float]:
    """Return the numbers that sum up a trial that has ended."""
    return scores(
        {
            "value": trial.value,
            "seconds": trial.seconds,
            "peak_memory_bytes": trial.peak_memory_bytes,
            "examples_per_second": trial.examples_per_second,
        }
    )


def trial_summary(trial: TrialView) -> dict[str, float | str]:
    """Return the numbers and the texts that sum up a trial."""
    return {**trial_scores(trial), **trial_facts(trial)}


def trial_facts(trial: TrialView) -> dict[str, str]:
    """Return what else is to be said of a trial, as texts."""
    facts = {
        "state": trial.state.value,
        "reason": trial.reason and trial.reason.value,
        "error": trial.error,
        "worker": trial.worker,
        "attempt": trial.attempt,
        "retry_of": trial.retry_of,
    }
    return _texts(facts)


def best_scores(study: StudyView) -> dict[str, float]:
    """Return the numbers that change while a study searches."""
    best = study.best
    return {} if best is None else {"best.value": best.value, "best.trial": float(best.trial)}


def study_scores(study: StudyView) -> dict[str, float]:
    """Return the numbers that sum up a study: the winner, its test scores with their interval, the baseline, the cost.

    Whatever the service says of the winner beside its value and test scores (an interval, a standard error) is told.
    """
    told = best_scores(study) | {"gpu_seconds": study.gpu_seconds}
    if study.best is not None:
        told |= scores(study.best.test or {}, "test.")
        extra = study.best.model_dump(mode="json", exclude={"trial", "value", "params", "test"})
        told |= {f"best.{key}": float(value) for key, value in _flat(extra, "") if _is_number(value)}
    if study.baseline is not None:
        told |= {f"baseline.{key}": float(value) for key, value in _flat(study.baseline.model_dump(mode="json"), "")}
    told |= {f"trials.{state}": float(count) for state, count in study.counts.model_dump().items()}
    return told


def study_summary(study: StudyView) -> dict[str, float | str]:
    """Return the numbers and the texts that sum up a study."""
    return {**study_scores(study), **study_facts(study)}


def study_facts(study: StudyView) -> dict[str, str]:
    """Return what else is to be said of a study, as texts."""
    facts = {
        "state": study.state.value,
        "winner": None if study.best is None else study.best.trial,
        "tags": ", ".join(study.tags) or None,
        "notes": study.notes or None,
        "message": study.message,
        "error": study.error,
        "model_trial": None if study.model is None else study.model.trial,
        "model_sha256": None if study.model is None else study.model.sha256,
    }
    return _texts(facts)


def ended_trials(study: StudyView) -> int:
    """Return how many trials have ended: the step at which a study's best score is told."""
    counts = study.counts
    return counts.complete + counts.pruned + counts.failed + counts.cancelled


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(facts: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in facts.items() if value is not None and value != ""}
