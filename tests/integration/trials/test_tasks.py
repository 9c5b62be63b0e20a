"""The contract of every task, over every architecture: see `tests.support.task_contract`."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers as hf

from luthier.studies.tasks import TASKS
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.squad import best_scores
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


class TestObjectDetection(TaskContract):
    task = "object-detection"
    auto_model, auto_processor = hf.AutoModelForObjectDetection, hf.AutoImageProcessor
    largest_statistic = 40  # four edges of each answer


class TestAudioClassification(TaskContract):
    task = "audio-classification"
    auto_model, auto_processor = hf.AutoModelForAudioClassification, hf.AutoFeatureExtractor


class TestAutomaticSpeechRecognition(TaskContract):
    task = "automatic-speech-recognition"
    auto_model, auto_processor = hf.AutoModelForCTC, hf.AutoProcessor
    labels, has_constant = 0, False
    largest_statistic = 100

    def auto(self, folder: Path) -> Any:
        writes = hf.AutoConfig.from_pretrained(folder).is_encoder_decoder
        return hf.AutoModelForSpeechSeq2Seq if writes else self.auto_model


class TestTextGeneration(TaskContract):
    task = "text-generation"
    auto_model, auto_processor = hf.AutoModelForCausalLM, hf.AutoTokenizer
    labels, has_constant = 0, False
    largest_statistic = 1


class TestText2TextGeneration(TaskContract):
    task = "text2text-generation"
    auto_model, auto_processor = hf.AutoModelForSeq2SeqLM, hf.AutoTokenizer
    labels, has_constant = 0, False
    largest_statistic = 1


class TestQuestionAnswering(TaskContract):
    task = "question-answering"
    auto_model, auto_processor = hf.AutoModelForQuestionAnswering, hf.AutoTokenizer
    labels = 0
    largest_statistic = 1

    def is_right(self, truth: str, said: str) -> bool:
        return best_scores(said, truth.split(" | ") if truth else [])[0] == 1


class NumbersContract(TaskContract):
    """What is the same for all tasks whose answers are numbers."""

    labels = 0

    def restored(self, targets: Any) -> Any:
        return replace(targets, in_units=True)


class TestTextRegression(NumbersContract):
    task = "text-regression"
    auto_model, auto_processor = hf.AutoModelForSequenceClassification, hf.AutoTokenizer


class TestImageRegression(NumbersContract):
    task = "image-regression"
    auto_model, auto_processor = hf.AutoModelForImageClassification, hf.AutoImageProcessor


class TestAudioRegression(NumbersContract):
    task = "audio-regression"
    auto_model, auto_processor = hf.AutoModelForAudioClassification, hf.AutoFeatureExtractor


class LabelSetsContract(TaskContract):
    """What is the same for all tasks with several labels for an example."""

    labels = 3

    def is_constant(self, said: str, names: list[str]) -> bool:
        return set(json.loads(said)) <= set(names)


class TestTextMultilabelClassification(LabelSetsContract):
    task = "text-multilabel-classification"
    auto_model, auto_processor = hf.AutoModelForSequenceClassification, hf.AutoTokenizer


class TestImageMultilabelClassification(LabelSetsContract):
    task = "image-multilabel-classification"
    auto_model, auto_processor = hf.AutoModelForImageClassification, hf.AutoImageProcessor


class TestAudioMultilabelClassification(LabelSetsContract):
    task = "audio-multilabel-classification"
    auto_model, auto_processor = hf.AutoModelForAudioClassification, hf.AutoFeatureExtractor


def every_contract(base: type[TaskContract]) -> list[type[TaskContract]]:
    """Return the classes below another one that name a task."""
    below = [contract for direct in base.__subclasses__() for contract in (direct, *every_contract(direct))]
    return [contract for contract in below if hasattr(contract, "task")]


def test_every_task_is_tested_with_an_architecture() -> None:
    contracts = {contract.task for contract in every_contract(TaskContract)}
    assert {architecture.task for architecture in ARCHITECTURES.values()} == set(TASKS) == contracts


def test_a_missing_library_hurts_only_the_task_that_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("image_classification", "image_inputs", "encoded_images", "text_classification"):
        monkeypatch.delitem(sys.modules, f"luthier.trials.tasks.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="PIL"):
        task_code("image-classification")
    assert task_code("text-classification").name == "text-classification"
