"""Recognise the documents of other tools where a spec is expected: what a text is, and what to write instead.

`parse_spec` asks it first. It knows each tool by the keys that no spec of ours has; nothing of a document is run.
"""

import re
from collections.abc import Mapping
from typing import Any

_PROGRAM = re.compile(
    r"^(?:from\s+[\w.]+\s+import\s|import\s+[\w.]+|def\s+\w+\(|class\s+\w+[(:]|#!.*python)", re.MULTILINE
)
_TRAINER = re.compile(r"\b(?:TrainingArguments|Seq2SeqTrainer|Trainer|SFTConfig|SFTTrainer|SetFitTrainer)\(")
_OPTUNA = re.compile(r"\b(?:optuna|suggest_float|suggest_int|suggest_categorical)\b")
_NOTEBOOK = ("cells", "nbformat")
_WRITE = "write its ranges under `space` of a spec; docs/studies.md shows one"
_IMPORT = "`luthier import FILE` writes a spec of it"
_SPACES = {  # keys that a document has -> what it is; the first whose keys are all there
    ("method", "parameters"): f"a sweep of Weights & Biases: {_IMPORT}",
    ("sweep_configuration",): f"a sweep of Weights & Biases inside another key; {_WRITE}",
    ("HyperParameterTuningJobConfig",): f"a tuning job of SageMaker: {_IMPORT}",
    ("ParameterRanges", "Strategy"): f"a tuning job of SageMaker: {_IMPORT}",
    ("studySpec",): f"a StudySpec of Vizier: {_IMPORT}",
    ("parameters", "metrics", "algorithm"): f"a StudySpec of Vizier: {_IMPORT}",
    ("searchSpace", "tuner"): f"an experiment of NNI: {_WRITE}",
    ("search_space", "tuner"): f"an experiment of NNI: {_WRITE}",
    ("searcher", "hyperparameters"): f"an experiment of Determined: {_WRITE}",
    ("hydra",): f"a configuration of Hydra: {_WRITE}",
    ("base_model", "project_name"): "a configuration of AutoTrain: `base_model` is `model`, `data.path` is "
    "`dataset.source`, `data.column_mapping` is `dataset.columns`, and `params` belong under `space`",
    ("base_model", "datasets"): f"a configuration of Axolotl, which trains one model once: {_WRITE}",
    ("model_name_or_path", "finetuning_type"): f"a configuration of LLaMA-Factory, which trains once: {_WRITE}",
    ("per_device_train_batch_size",): "arguments of the Trainer of transformers, which trains once: give "
    "`per_device_train_batch_size` as `space.batch_size` and `num_train_epochs` as `space.epochs`, each with a range",
    ("_name_or_path", "architectures"): "a model's config.json: name its folder as `model` of a spec",
    ("model_type", "architectures"): "a model's config.json: name its folder as `model` of a spec",
    ("cron", "study"): "a schedule: give it to `luthier schedule create -f`",
}


def program_in(text: str) -> str | None:
    """Return a sentence where a text is a program or a notebook instead of a document; else None."""
    if not _PROGRAM.search(text[:20_000]):
        return None
    if _TRAINER.search(text):
        kind, further = "a training script for the Trainer of transformers", "Luthier has its own training loop: "
    elif _OPTUNA.search(text):
        kind, further = "a Python program that uses Optuna", "Luthier has the objective itself: "
    else:
        kind, further = "a Python program", ""
    text = f"{further}a spec is a document, YAML or JSON, that names task, model, dataset and space"
    return (
        f"this is {kind}, not a spec, and nothing of it was run. {text[0].upper()}{text[1:]}; docs/studies.md shows one"
    )


def foreign_spec(document: Mapping[str, Any]) -> str | None:
    """Return a sentence where a document is another tool's; None for one that may be a spec."""
    if "task" in document and "space" in document:
        return None
    if all(key in document for key in _NOTEBOOK):
        return "this is a notebook, not a spec, and nothing of it was run; docs/studies.md shows a spec"
    version = str(document.get("apiVersion", ""))
    if version.startswith("kubeflow.org/"):
        return f"this is an experiment of Katib: {_IMPORT}"
    if version and "kind" in document:
        return f"this is a manifest of Kubernetes ({version}), not a spec; docs/studies.md shows a spec"
    what = next((what for keys, what in _SPACES.items() if all(key in document for key in keys)), None)
    return what and f"{'these are' if what.startswith('arguments') else 'this is'} {what}"
