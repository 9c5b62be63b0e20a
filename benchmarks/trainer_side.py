"""The Trainer's side of vs_trainer.py: its Optuna search, at its best ordinary settings.

vs_trainer.py starts it as a process. The process is warm and the data tokenized once: batches are padded to their
longest member and grouped by length, evaluation batches are large, and no checkpoints are written. Freezing is done
where a user does it, in `model_init`.
"""

import argparse
import json
import time
from pathlib import Path

IMPORTING = time.perf_counter()
import datasets  # noqa: E402
import numpy as np  # noqa: E402
import optuna  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from mix import CONFIGURATIONS, DEPTH, MAX_LENGTH, MIX, NAMES, cpu_seconds, trial  # noqa: E402

STUDY = "fixed"


def encode(tokenizer: transformers.PreTrainedTokenizerBase, folder: Path) -> tuple[datasets.DatasetDict, list[str]]:
    """Return the tokenized splits, with each example's length for `group_by_length`, and the label names."""
    files = {split: str(folder / f"{split}.csv") for split in ("train", "validation")}
    data = datasets.load_dataset("csv", data_files=files, cache_dir=str(folder / "cache"), keep_in_memory=True)
    names = sorted(set(data["train"]["label"]))

    def tokens(batch: dict[str, list[str]]) -> dict[str, list]:
        inputs = dict(tokenizer(batch["text"], truncation=True, max_length=MAX_LENGTH))
        lengths = [len(ids) for ids in inputs["input_ids"]]
        return inputs | {"labels": [names.index(label) for label in batch["label"]], "length": lengths}

    return data.map(tokens, batched=True, remove_columns=["text", "label"]), names


def frozen_to(depth: int, model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """Freeze the embeddings and the bottom `depth` layers, and the pooler where all layers are; return the model."""
    if depth:
        model.bert.embeddings.requires_grad_(False)
    for layer in model.bert.encoder.layer[:depth]:
        layer.requires_grad_(False)
    if depth == len(model.bert.encoder.layer):
        model.bert.pooler.requires_grad_(False)
    return model


def hp_space(chosen: optuna.Trial) -> dict[str, float]:
    """Return a configuration, by the Trainer's names; the study's queue decides which one is drawn."""
    return {
        "learning_rate": chosen.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
        "per_device_train_batch_size": chosen.suggest_categorical("batch_size", [8, 16, 32]),
        "num_train_epochs": chosen.suggest_int("epochs", 1, 3),
        "weight_decay": chosen.suggest_float("weight_decay", 0.0, 0.3),
        "freeze_depth": chosen.suggest_int("freeze_depth", 0, DEPTH),
    }


class Scores(transformers.TrainerCallback):
    """Keeps the accuracies of each trial, and the time and CPU time at each trial's start.

    Attributes:
        trials: For each trial, the accuracy after each epoch.
        marks: For each trial, (time, CPU time) at its start, in seconds; and at last those at the end of all.
    """

    def __init__(self) -> None:
        self.trials: list[list[float]] = []
        self.marks: list[tuple[float, float]] = []

    def on_train_begin(self, *_: object, **__: object) -> None:
        """Begin a trial's list; the Trainer calls it."""
        self.trials.append([])

    def on_evaluate(self, *_: object, metrics: dict[str, float], **__: object) -> None:
        """Keep an epoch's accuracy; the Trainer calls it."""
        self.trials[-1].append(metrics["eval_accuracy"])

    def mark(self) -> None:
        """Keep the time and the CPU time now."""
        self.marks.append((time.perf_counter(), cpu_seconds()))


def arguments(options: argparse.Namespace) -> transformers.TrainingArguments:
    """Return the Trainer's settings that all trials share."""
    return transformers.TrainingArguments(
        output_dir=str(options.work / "trainer"),
        train_sampling_strategy="group_by_length",
        per_device_eval_batch_size=128,
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        lr_scheduler_type="linear",
        warmup_steps=0.1,  # below 1: a share of all steps
        max_grad_norm=1.0,
        bf16=options.bf16,
        use_cpu=options.device == "cpu",
        dataloader_pin_memory=options.device == "cuda",
        seed=options.seed,
        report_to="none",
        disable_tqdm=True,
    )


def search(options: argparse.Namespace) -> dict:
    """Run the search, and return its phases (seconds), CPU time (seconds) and trials."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    data, names = encode(tokenizer, options.work)
    scores = Scores()

    def model_init(chosen: optuna.Trial | None) -> transformers.PreTrainedModel:
        if chosen is not None:
            scores.mark()
        model = transformers.AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=len(names))
        # Before hp_space: the Trainer makes the model first. Optuna gives the same value to both.
        return frozen_to(chosen.suggest_int("freeze_depth", 0, DEPTH) if chosen else 0, model)

    trainer = transformers.Trainer(
        model_init=model_init,
        args=arguments(options),
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=tokenizer,
        compute_metrics=lambda p: {"accuracy": float(np.mean(np.argmax(p.predictions, -1) == p.label_ids))},
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.evaluate(data["validation"].select(range(8)))  # so that no trial pays for work that is done once
    trainer.add_callback(scores)
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
    for configuration in CONFIGURATIONS:
        study.enqueue_trial(configuration)
    ready = time.perf_counter()
    trainer.hyperparameter_search(
        hp_space=hp_space,
        compute_objective=lambda metrics: metrics["eval_accuracy"],
        n_trials=len(CONFIGURATIONS),
        direction="maximize",
        backend="optuna",
        storage=storage,
        study_name=STUDY,
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),
    )
    scores.mark()
    return report(study, scores, ready)


def report(study: optuna.Study, scores: Scores, ready: float) -> dict:
    """Return the trials, and the seconds from the start of the mix's first trial to the end of its last.

    A trial lasts from Optuna's start of it to Optuna's end of it. `ready`: the time at which the search began.
    """
    rows = [
        trial({name: t.params[name] for name in NAMES}, t.duration.total_seconds(), values)
        for t, values in zip(study.trials, scores.trials, strict=True)
    ]
    assert [t["params"] for t in rows] == list(CONFIGURATIONS)
    started, ended = scores.marks[0], scores.marks[len(MIX)]
    return {
        "phases": {"start-up": ready - IMPORTING, "inspection": 0.0, "winner": 0.0},
        "wall_seconds": ended[0] - started[0],
        "cpu_seconds": ended[1] - started[1],
        "trials": rows,
    }


def main() -> None:
    """Run the search that the options name, and write the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder with train.csv and validation.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options.out.write_text(json.dumps(search(options)))


if __name__ == "__main__":
    main()
