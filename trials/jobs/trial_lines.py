"""The lines of a trial's log about its training: how it takes its batches, its evaluations, and why it ends early.

The training loop writes them.
"""

import math

from luthier.studies.spec import StudySpec
from luthier.studies.wire import Metrics
from luthier.trials.training.progress import Progress


def describe_batch(batch_size: int, together: int) -> str:
    """Return how an optimizer step takes its batch, as a line of the trial's log.

    Args:
        batch_size: Examples of a step.
        together: Examples that go through the model together.
    """
    parts = math.ceil(batch_size / together)
    how = "at once" if parts == 1 else f"in {parts} micro-batches of at most {together}, whose gradients add up"
    return f"effective batch: {batch_size} examples for each optimizer step, {how}"


def describe(step: int, steps: int, train_loss: float, metrics: Metrics, speed: float | None) -> str:
    """Return an evaluation as a line of the trial's log.

    Args:
        step: The evaluation's number, from 1.
        steps: Evaluations of the whole trial.
        train_loss: Mean over the batches since the evaluation before.
        metrics: Of the validation split.
        speed: Examples per second.
    """
    scores = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
    return f"evaluation {step}/{steps}: train loss {train_loss:.4f}; validation {scores}; {speed or 0:.0f} examples/s"


def why_early(progress: Progress, evaluations: int, spec: StudySpec) -> str:
    """Return why early stopping ends a trial, as a line of its log.

    Args:
        progress: After the last evaluation.
        evaluations: Those that the trial was to have.
        spec: The study's, with early stopping.
    """
    assert spec.early_stopping is not None
    margin = f" by more than {spec.early_stopping.min_delta:g}" if spec.early_stopping.min_delta else ""
    return (
        f"ends early, after evaluation {progress.step} of {evaluations}: none of the last "
        f"{progress.standstill.evaluations} was better than {spec.objective.metric} {progress.standstill.record:.4f}"
        f"{margin} (early_stopping); its best one is {progress.best_step}"
    )
