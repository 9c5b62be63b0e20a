"""The names that other tools and training scripts give to hyperparameters, models, data and metrics."""

import re
from typing import Any

from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.task import Metric
from luthier.studies.tasks import TASKS

_HYPERPARAMETERS = {
    "learning_rate": "lr init_lr base_lr peak_lr max_lr learningrate",
    "batch_size": "batchsize bs train_batch_size per_device_train_batch_size per_gpu_train_batch_size mini_batch_size",
    "epochs": "epoch num_epochs n_epochs num_train_epochs max_epochs nepochs",
    "weight_decay": "wd weightdecay decay",
    "freeze_depth": "freeze_layers frozen_layers num_frozen_layers n_frozen_layers num_freeze_layers unfreeze_from",
    "optimizer": "optim optimiser optimizer_name optimizer_type",
    "scheduler": "lr_scheduler lr_scheduler_type scheduler_type lr_schedule",
    "warmup_ratio": "warmup_proportion warmup",
    "warmup_steps": "num_warmup_steps",
    "label_smoothing": "label_smoothing_factor",
    "dropout": "dropout_rate drop_rate hidden_dropout_prob classifier_dropout",
    "max_grad_norm": "grad_clip gradient_clip_val gradient_clip clip_grad_norm max_norm",
    "max_length": "max_seq_length max_seq_len max_len sequence_length",
    "layer_decay": "layerwise_lr_decay llrd layer_wise_lr_decay lr_layer_decay",
    "focal_gamma": "focal_loss_gamma",
    "mixup_alpha": "mixup",
    "lora_rank": "lora_r r lora_dim",
    "lora_alpha": "",
    "lora_dropout": "",
}
_OURS = {name: ours for ours, names in _HYPERPARAMETERS.items() for name in names.split()}
_WORDS = {
    "optimizer": {
        "adamw_torch": "adamw",
        "adamw_torch_fused": "adamw",
        "adamw_hf": "adamw",
        "torch.optim.adamw": "adamw",
    },
    "scheduler": {"cosine_annealing": "cosine", "cosineannealinglr": "cosine", "constant_with_warmup": "constant"},
}
_MODELS = frozenset(
    {
        "model",
        "model_name",
        "model_name_or_path",
        "pretrained_model",
        "model_id",
        "base_model",
        "checkpoint",
        "backbone",
    }
)
_SOURCES = frozenset({"dataset", "dataset_name", "data", "data_path", "train_file", "dataset_path"})
_METRICS = {"acc": "accuracy", "top1": "accuracy", "f1": "macro_f1", "mcc": "matthews", "mathews": "matthews"}
_METRICS |= {"iou": "mean_iou", "miou": "mean_iou", "rouge": "rouge_l", "rougel": "rouge_l", "em": "exact_match"}
_OF_A_SPLIT = re.compile(r"^(eval|evaluation|val|valid|validation|dev|test|best)[ _./:-]+")


def _last(name: str) -> str:
    """Return a name as `model.optimizer.lr` or `--weight-decay`, without what is in front, in small letters."""
    return re.split(r"[./]", name.strip().lstrip("-"))[-1].lower().replace("-", "_").replace(" ", "_")


def hyperparameter(name: str) -> str | None:
    """Return the hyperparameter that another tool's name means; None where there is none."""
    last = _last(name)
    return last if last in HYPERPARAMETERS else _OURS.get(last)


def word(name: str, value: Any) -> Any:
    """Return our word for a choice of a hyperparameter, as adamw for adamw_torch."""
    return _WORDS.get(name, {}).get(str(value).lower(), str(value).lower() if isinstance(value, str) else value)


def model_name(name: str) -> bool:
    """Return whether a parameter is the pretrained model."""
    return _last(name) in _MODELS


def source_name(name: str) -> bool:
    """Return whether a parameter is the data."""
    return _last(name) in _SOURCES


def metric(name: Any) -> Metric | None:
    """Return the metric that a name as `eval/accuracy` or `val_acc` means; None where no task has it."""
    plain = _OF_A_SPLIT.sub("", str(name).strip().lower()).replace("-", "_").replace("/", "_")
    wanted = _METRICS.get(plain, plain)
    metrics = (metric for task in TASKS.values() for metric in task.metrics)
    return next((metric for metric in metrics if metric.name == wanted), None)
