"""The contract of every task, over every architecture: see `tests.support.task_contract`."""

import sys

import pytest
import transformers as hf

from luthier.studies.tasks import TASKS
from luthier.trials.tasks.registry import task_code
from tests.support.architectures import ARCHITECTURES
from tests.support.task_contract import TaskContract


class TestTextClassification(TaskContract):
    task = "text-classification"
    auto_model, auto_processor = hf.AutoModelForSequenceClassification, hf.AutoTokenizer


class TestTokenClassification(TaskContract):
    task = "token-classification"
    auto_model, auto_processor = hf.AutoModelForTokenClassification, hf.AutoTokenizer


class TestImageClassification(TaskContract):
    task = "image-classification"
    auto_model, auto_processor = hf.AutoModelForImageClassification, hf.AutoImageProcessor


class TestImageSegmentation(TaskContract):
    task = "image-segmentation"
    auto_model, auto_processor = hf.AutoModelForSemanticSegmentation, hf.AutoImageProcessor


class TestAudioClassification(TaskContract):
    task = "audio-classification"
    auto_model, auto_processor = hf.AutoModelForAudioClassification, hf.AutoFeatureExtractor


def test_every_task_is_tested_with_an_architecture() -> None:
    contracts = {contract.task for contract in TaskContract.__subclasses__()}
    assert {architecture.task for architecture in ARCHITECTURES.values()} == set(TASKS) == contracts


def test_a_missing_library_hurts_only_the_task_that_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("image_classification", "image_inputs", "encoded_images", "text_classification"):
        monkeypatch.delitem(sys.modules, f"luthier.trials.tasks.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="PIL"):
        task_code("image-classification")
    assert task_code("text-classification").name == "text-classification"
