"""What other tools' documents are called when they are given as a spec, and that no spec is taken for one."""

import pytest
import yaml
from pydantic import ValidationError

from luthier.studies.spec import parse_spec
from tests.support.paths import ROOT

SWEEP = """
program: train.py
method: bayes
metric: {name: eval/accuracy, goal: maximize}
parameters: {learning_rate: {min: 0.00001, max: 0.001}, batch_size: {values: [16, 32]}}
"""
TRAINER = """
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

args = TrainingArguments(output_dir="out", num_train_epochs=3)
trainer = Trainer(model=AutoModelForSequenceClassification.from_pretrained("bert"), args=args)
trainer.train()
"""
OPTUNA = "import optuna\n\ndef objective(trial):\n    return trial.suggest_float('lr', 1e-5, 1e-3)\n"
FOREIGN = {
    SWEEP: "a sweep of Weights & Biases: `luthier import FILE` writes a spec of it",
    TRAINER: "the Trainer of transformers, not a spec, and nothing of it was run. Luthier has its own training loop: a",
    OPTUNA: "a Python program that uses Optuna",
    "#!/usr/bin/env python\nprint('x: 1')\n": "a Python program, not a spec, and nothing of it was run. A spec is",
    "apiVersion: kubeflow.org/v1beta1\nkind: Experiment\nspec: {}": "an experiment of Katib",
    "apiVersion: v1\nkind: Pod": "a manifest of Kubernetes (v1)",
    '{"HyperParameterTuningJobConfig": {}}': "a tuning job of SageMaker",
    '{"studySpec": {"metrics": []}}': "a StudySpec of Vizier",
    "task: llm-sft\nbase_model: m\nproject_name: p\nparams: {lr: 0.1}": "a configuration of AutoTrain",
    "base_model: m\ndatasets: [{path: d}]": "a configuration of Axolotl",
    "output_dir: out\nper_device_train_batch_size: 8": "these are arguments of the Trainer",
    '{"architectures": ["BertModel"], "model_type": "bert"}': "a model's config.json",
    '{"cells": [], "nbformat": 4}': "a notebook",
    "name: n\ncron: 0 2 * * *\nstudy: {}": "a schedule",
}


@pytest.mark.parametrize("text", FOREIGN)
def test_a_document_of_another_tool_is_called_by_its_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(this is|these are) ") as refused:
        parse_spec(text)
    assert FOREIGN[text] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_spec_is_never_taken_for_another_tools() -> None:
    text = (ROOT / "examples" / "quickstart.yaml").read_text()
    document = yaml.safe_load(text) | {"method": "x", "parameters": {}}
    with pytest.raises(ValidationError) as refused:
        parse_spec(yaml.safe_dump(document))
    assert {error["loc"] for error in refused.value.errors()} == {("method",), ("parameters",)}
    assert parse_spec("# how to import transformers\n# from a import b\n" + text).name == "quickstart"
