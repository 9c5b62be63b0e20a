"""Mixtures of the examples of a batch, where batches have one example: refused, or told where some have more."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.studies.space import Space
from luthier.studies.spec import StudySpec, parse_spec
from luthier.trials.tasks.mixing import mixing_findings
from tests.support.specs import document


def images(augmentation: str, **space: Any) -> dict[str, Any]:
    return document() | {
        "task": "image-classification",
        "dataset": {"source": "data/images"},
        "augmentation": augmentation,
        "space": {"learning_rate": 1e-4, **space},
    }


@pytest.mark.parametrize("augmentation", ["mixup", "cutmix"])
@pytest.mark.parametrize("sizes", [1, [1], {"low": 1, "high": 1}])
def test_mixtures_of_batches_of_one_are_refused(augmentation: str, sizes: Any) -> None:
    written = images(augmentation, batch_size=sizes)
    with pytest.raises(ValidationError, match=f"{augmentation} mixes the examples of a batch, and") as refused:
        parse_spec(json.dumps(written))
    assert [error["loc"] for error in refused.value.errors()] == [("augmentation",)]
    assert StudySpec.model_validate({**written, "semantics": 3}).augmentation == augmentation


@pytest.mark.parametrize(
    ("augmentation", "sizes", "told"),
    [("mixup", [1, 8], 1), ("cutmix", {"low": 1, "high": 4}, 1), ("mixup", [2, 8], 0), ("standard", [1, 8], 0)],
)
def test_trials_with_batches_of_one_among_others_are_told(augmentation: str, sizes: Any, told: int) -> None:
    spec = parse_spec(json.dumps(images(augmentation, batch_size=sizes)))
    assert [finding.code for finding in mixing_findings(spec.augmentation, spec.space)] == ["nothing-to-mix"] * told


def test_the_default_batches_can_be_mixed() -> None:
    spec = parse_spec(json.dumps(images("mixup")))
    assert not mixing_findings(spec.augmentation, Space({}))
