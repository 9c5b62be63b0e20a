"""The verdict on a winner that is no better than always giving the most frequent answer, as a sentence.

The service puts it into the warnings of a study that has ended.
"""

from luthier.studies.results import Majority
from luthier.studies.spec import StudySpec, is_better
from luthier.studies.wire import Metrics


def no_better(spec: StudySpec, majority: Majority, value: float, test: Metrics | None) -> str | None:
    """Return a sentence that says where a winner is no better than the most frequent answer, or None if it is better.

    Args:
        spec: The study's: its objective says what is better.
        majority: The scores of the most frequent answer.
        value: The winner's objective on the validation split.
        test: The winner's scores on the test split; None where there is none, or they are not measured.
    """
    metric = spec.objective.metric
    pairs = (
        ("validation", value, majority.validation.get(metric)),
        ("test", (test or {}).get(metric), (majority.test or {}).get(metric)),
    )
    told = [
        f"on {split} its {metric} is {mine:.4f}, and that alone has {other:.4f}"
        for split, mine, other in pairs
        if mine is not None and other is not None and not is_better(mine, other, spec.maximize)
    ]
    if not told:
        return None
    answer = f"always answering {majority.label!r}"
    said = f"The winner is no better than {answer}: {'; '.join(told)}. It has learned nothing, "
    if "class_weighting" in spec.task_info.refuses:
        return f"{said}or nothing that this metric shows: look at the data, search over more epochs and learning rates."
    return (
        f"{said}or nothing that this metric shows: look at inputs and labels, search over more epochs, other learning "
        "rates and class_weighting, or take an objective that counts all classes alike."
    )
