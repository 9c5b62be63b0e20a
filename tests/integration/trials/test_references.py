"""The inspection scores answers without a model: the majority's, and whether a split can measure the objective."""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sklearn.dummy
import sklearn.metrics

from luthier.studies.findings import Severity
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import Inspection
from luthier.trials.errors import BadData
from luthier.trials.jobs.inspect import inspect
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.findings import about
from tests.support.tiny import tiny_rows
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
cache = ModelCache()


def write(path: Path, labels: Sequence[str]) -> str:
    texts = (text for text, _ in tiny_rows(len(labels), seed=len(path.name)))
    path.write_text(
        "text,label\n" + "".join(f"{text} {i},{v}\n" for i, (text, v) in enumerate(zip(texts, labels, strict=True)))
    )
    return str(path)


def write_tags(path: Path, tags: Sequence[Sequence[str]]) -> str:
    rows = ({"tokens": [f"great{i}"] * len(row), "ner_tags": row} for i, row in enumerate(tags))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def inspected(assign: Assign, folder: Path, semantics: int = 2, **spec: Any) -> Inspection:
    work = assign(AssignmentKind.INSPECT, spec={"semantics": semantics, **spec})
    return inspect(work, Memory(folder / "session"), cache)


def test_the_majority_scores_as_a_dummy_classifier(assign: Assign, tmp_path: Path) -> None:
    labels = {
        "train": ["ham"] * 60 + ["spam"] * 25 + ["eggs"] * 15,
        "validation": ["ham"] * 10 + ["spam"] * 8 + ["eggs"] * 3,
        "test": ["spam"] * 9 + ["ham"] * 5 + ["eggs"] * 2,
    }
    source = {split: write(tmp_path / f"{split}.csv", found) for split, found in labels.items()}
    majority = inspected(assign, tmp_path, dataset={"source": source}).majority
    assert majority is not None
    assert majority.label == "ham"
    dummy = sklearn.dummy.DummyClassifier(strategy="prior").fit([[0]] * 100, labels["train"])
    for split, scores in (("validation", majority.validation), ("test", majority.test)):
        true = labels[split]
        said, chances = (answer([[0]] * len(true)) for answer in (dummy.predict, dummy.predict_proba))
        expected = {
            "accuracy": sklearn.metrics.accuracy_score(true, said),
            "macro_f1": sklearn.metrics.f1_score(true, said, average="macro", zero_division=0),
            "matthews": 0.0,
            "auc": 0.5,
            "loss": sklearn.metrics.log_loss(true, chances, labels=dummy.classes_),
        }
        assert scores == pytest.approx(expected, abs=1e-5)


def test_the_majority_of_tags_is_outside_of_entities(assign: Assign, tmp_path: Path) -> None:
    rows = [["O", "O", "B-X"]] * 40
    source = write_tags(tmp_path / "tags.jsonl", rows)
    found = inspected(assign, tmp_path, task="token-classification", dataset={"source": source})
    assert found.majority is not None
    assert found.majority.label == "O"
    prior = -(2 * math.log(2 / 3) + math.log(1 / 3)) / 3
    scores = {"entity_f1": 0.0, "token_accuracy": 2 / 3, "macro_f1": 0.4, "loss": prior}
    assert found.majority.validation == pytest.approx(scores, abs=1e-5)
    assert found.majority.test == pytest.approx(scores, abs=1e-5)


BLIND: dict[str, tuple[str, list[str]]] = {
    "auc": (
        "auc cannot be measured on the validation split of these data: it is undefined.",
        ["accuracy", "macro_f1", "loss"],
    ),
    "matthews": ("it is 0.0 for the best and worst answers", ["accuracy", "macro_f1", "loss"]),
}


@pytest.mark.parametrize("metric", BLIND)
def test_an_objective_that_validation_cannot_measure(metric: str, assign: Assign, tmp_path: Path) -> None:
    said, able = BLIND[metric]
    train = write(tmp_path / "train.csv", ["a", "b"] * 40)
    source = {"train": train, "validation": write(tmp_path / "validation.csv", ["a"] * 12)}
    spec: dict[str, Any] = {"dataset": {"source": source, "test": 0.2}, "objective": {"metric": metric}}
    with pytest.raises(BadData) as refused:
        inspected(assign, tmp_path, **spec)
    assert refused.value.path == ["objective", "metric"]
    assert said in refused.value.message
    assert f"(dataset.validation), or choose {' or '.join(able)} as objective.metric." in refused.value.message
    (finding,) = about(inspected(assign, tmp_path, semantics=1, **spec), "objective-not-measured")
    assert finding.severity is Severity.WARNING, "studies of before go on"
    others = inspected(assign, tmp_path, dataset=spec["dataset"])
    (note,) = about(others, "metrics-not-measured")
    assert (note.severity, note.examples) == (Severity.NOTE, ["matthews", "auc"])


def test_an_objective_that_test_cannot_measure_is_a_warning(assign: Assign, tmp_path: Path) -> None:
    source = {"train": write(tmp_path / "t.csv", ["a", "b"] * 40), "test": write(tmp_path / "test.csv", ["b"] * 12)}
    spec: dict[str, Any] = {"dataset": {"source": source}, "objective": {"metric": "auc"}}
    found = inspected(assign, tmp_path, **spec)
    (finding,) = about(found, "objective-not-measured")
    assert finding.message == "auc cannot be measured on the test split of these data: it is undefined."
    assert found.majority is not None
    assert found.majority.test is not None
    assert found.majority.test["auc"] is None


def test_strict_names_the_warnings_of_data_and_scores_in_one_sentence(assign: Assign, tmp_path: Path) -> None:
    source = {"train": write(tmp_path / "t.csv", ["a", "b"] * 40), "test": write(tmp_path / "test.csv", ["b"] * 12)}
    with pytest.raises(
        BadData, match=r"found is refused.*All rows of the test split .*auc cannot be measured"
    ) as refused:
        inspected(assign, tmp_path, dataset={"source": source, "strict": True}, objective={"metric": "auc"})
    assert refused.value.path == ["dataset", "strict"]


def test_entities_that_validation_or_test_lacks(assign: Assign, tmp_path: Path) -> None:
    train = write_tags(tmp_path / "train.jsonl", [["O", "B-X", "I-X"]] * 40)
    none = write_tags(tmp_path / "none.jsonl", [["O", "O", "O"]] * 8)
    spec: dict[str, Any] = {"task": "token-classification"}
    with pytest.raises(BadData, match=r"entity_f1 cannot be measured .*labels and entities .*choose token_accuracy"):
        inspected(assign, tmp_path, dataset={"source": {"train": train, "validation": none}, "test": 0.2}, **spec)
    dataset: dict[str, Any] = {"source": {"train": train, "test": none}}
    (finding,) = about(inspected(assign, tmp_path, dataset=dataset, **spec), "objective-not-measured")
    assert finding.message == "entity_f1 cannot be measured on the test split of these data: " + (
        "it is 0.0 for the best and worst answers."
    )


def test_five_classes_are_always_among_the_five_most_likely(assign: Assign, tmp_path: Path) -> None:
    model = ARCHITECTURES["vit"].build(tmp_path / "vit")
    images = tiny_data("image-classification", tmp_path / "data", rows=40)
    spec = {"task": "image-classification", "model": str(model), "dataset": {"source": str(images)}}
    with pytest.raises(BadData, match=r"top5_accuracy cannot be .* it is 1.0 for the best and worst answers"):
        inspected(assign, tmp_path, **spec, objective={"metric": "top5_accuracy"})
    found = inspected(assign, tmp_path, **spec)
    assert [note.examples for note in about(found, "metrics-not-measured")] == [["top5_accuracy"]] * 2
    assert found.majority is not None
    assert found.majority.validation["top5_accuracy"] == 1.0
    counts = Counter(found.labels)
    assert found.majority.label in counts


def test_an_inspection_after_a_trial_looks_for_findings(assign: Assign, tmp_path: Path) -> None:
    source = write(tmp_path / "d.csv", ["a"] * 99 + ["b"] * 5)
    spec: dict[str, Any] = {"semantics": 2, "dataset": {"source": source}}
    warm = ModelCache()
    inspection = inspect(assign(AssignmentKind.INSPECT, spec=spec), Memory(tmp_path / "session"), ModelCache())
    assert not warm.data(assign(spec=spec, inspection=inspection)).findings
    found = warm.data(assign(AssignmentKind.INSPECT, spec=spec)).findings
    assert found == tuple(about(inspection, "imbalance", "rare-labels"))
    assert found
