"""The metadata at the top of a model's card, which the hub reads: what it is, of what it was made, how it scored.

`card` prints it. The keys are those of huggingface_hub's `ModelCardData`. What is not known (a license, say) is left
out, and so is every path of this machine.
"""

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from luthier.studies.dataset import Dataset
from luthier.studies.protocol import Assignment
from luthier.studies.wire import Metrics
from luthier.trials.data.located import HubDataset, locate
from luthier.trials.errors import BadData
from luthier.trials.tasks.usage import Usage

TYPES = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "entity_f1": "f1",
    "matthews": "matthews_correlation",
    "auc": "roc_auc",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "map": "mean_average_precision",
    "rouge_l": "rouge",
    "token_accuracy": "accuracy",
    "top5_accuracy": "accuracy",
    "subset_accuracy": "accuracy",
    "pixel_accuracy": "accuracy",
    "no_answer_accuracy": "accuracy",
}
"""Metric -> the hub's name of its kind, where that is another one."""


def metadata(assignment: Assignment, usage: Usage, test: Metrics | None, hub: bool) -> str:
    """Return the block of metadata, between two lines of dashes.

    Args:
        assignment: How the model was made.
        usage: How it is used.
        test: Its metrics on the test split, if there is one.
        hub: The base model is one of the hub, so that its name is known there.
    """
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": usage.tag, "tags": ["luthier"]}
    front |= {"base_model": assignment.model, "base_model_relation": "finetune"} if hub else {}
    dataset = _hub_id(assignment.spec.dataset)
    front |= {"datasets": [dataset]} if dataset is not None else {}
    scores, split = (test, "test") if test else (_validation(assignment), "validation")
    known = {name: value for name, value in (scores or {}).items() if value is not None}
    if known:
        front["metrics"] = list(dict.fromkeys(TYPES.get(name, name) for name in known if name != "loss")) or ["loss"]
        front["model-index"] = [_index(assignment, usage, dataset, known, split)]
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---"])  # JSON is YAML


def _index(
    assignment: Assignment, usage: Usage, dataset: str | None, scores: Mapping[str, float], split: str
) -> dict[str, Any]:
    """Return the entry of the model's results."""
    name = dataset or _file_name(assignment.spec.dataset)
    data = {"type": dataset or "local", "name": name, "split": split}
    if dataset is not None and assignment.spec.dataset.subset:
        data["config"] = assignment.spec.dataset.subset
    metrics = [{"type": TYPES.get(metric, metric), "name": metric, "value": scores[metric]} for metric in scores]
    result = {"task": {"type": usage.tag, "name": assignment.spec.task}, "dataset": data, "metrics": metrics}
    return {"name": assignment.spec.name, "results": [result]}


def _validation(assignment: Assignment) -> Metrics | None:
    found = assignment.provenance.get("validation")
    return found if isinstance(found, dict) and found else None


def _hub_id(dataset: Dataset) -> str | None:
    """Return the id of a data set of the hub; None for local data."""
    if not isinstance(dataset.source, str):
        return None
    try:
        located = locate(dataset.source)
    except BadData:  # it was there when the model was trained
        return None
    return located.text if isinstance(located, HubDataset) else None


def _file_name(dataset: Dataset) -> str:
    """Return the name of local data without the folders that it lies in."""
    source = dataset.source if isinstance(dataset.source, str) else dataset.source.train
    return PurePath(source).name
