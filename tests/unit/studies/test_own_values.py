"""Hyperparameters of which -1 has a meaning, and no other number below 0: refused with path and cure."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.studies.spec import StudySpec, parse_spec
from tests.support.specs import document


def written(**space: Any) -> dict[str, Any]:
    return document() | {"space": {"learning_rate": 1e-4, **space}}


@pytest.mark.parametrize(
    ("space", "path"),
    [
        ({"dropout": -0.5}, ("space", "dropout")),
        ({"dropout": [-1, 0.1, -0.1]}, ("space", "dropout", 2)),
        ({"dropout": {"low": -1, "high": 0.5}}, ("space", "dropout")),
        ({"dropout": {"low": -0.5, "high": 0.5, "step": 0.25}}, ("space", "dropout")),
        ({"strategy": "lora", "lora_dropout": -0.5}, ("space", "lora_dropout")),
    ],
)
def test_numbers_between_minus_one_and_nothing_are_refused(space: dict[str, Any], path: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError, match=r"must be -1, or from 0 to 0.999") as refused:
        parse_spec(json.dumps(written(**space)))
    assert [error["loc"] for error in refused.value.errors()] == [path]
    stored = StudySpec.model_validate({**written(**space), "semantics": 3})
    assert "dropout" in str(stored.space), "it goes on as it began"


def test_mixtures_have_such_a_number_too() -> None:
    images = written(mixup_alpha=-0.5) | {"task": "image-classification", "augmentation": "mixup"}
    with pytest.raises(ValidationError, match=r"must be -1, or from 0 to 100. Alpha of the weights"):
        parse_spec(json.dumps(images))


@pytest.mark.parametrize("d", [-1, 0, 0.3, [-1, 0, 0.2], {"low": 0, "high": 0.5}, {"low": -1, "high": 0, "step": 1}])
def test_minus_one_and_the_others_are_not(d: Any) -> None:
    parse_spec(json.dumps(written(dropout=d)))
