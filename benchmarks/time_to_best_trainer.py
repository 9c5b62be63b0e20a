"""The Trainer's side of time_to_best.py: its own Optuna search, with TPE and the median pruner.

time_to_best.py starts it as a process. The settings are those of tasks_vs_trainer.py: features made once, batches
grouped by length, a fused optimizer, no checkpoints. The weights of the best evaluation so far are kept in memory, as
the search itself returns no model; the test score is theirs.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import optuna
import torch
import transformers
from cases import images, texts
from cases.case import Official, Row
from curve_tasks import CURVE_TASKS, SPACE
from task_sides import EVALUATED, depths, freeze, quiet

OFFICIAL = {
    "text": texts.CASES["text-classification"].official,
    "image": images.CASES["image-classification"].official,
}
WARMUP = 0.1  # a share of all steps, as Luthier's default


def rows_of(path: Path) -> list[Row]:
    """Return the rows of a split."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Watch(transformers.TrainerCallback):
    """Keeps the time and score of each evaluation, and the best weights; ends what trains when the time is over.

    Attributes:
        trials: That were begun.
        first_trial: When the first one began, in seconds since the epoch.
        points: (time, accuracy) of each evaluation.
        weights: Those of the best evaluation.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.trials = 0
        self.first_trial: float | None = None
        self.points: list[tuple[float, float]] = []
        self.weights: dict[str, torch.Tensor] = {}

    def begin(self) -> None:
        """Note that a trial begins."""
        self.first_trial = self.first_trial or time.time()
        self.trials += 1

    @property
    def is_over(self) -> bool:
        """Whether the budget is used up."""
        return self.first_trial is not None and time.time() > self.first_trial + self._seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Stop the training when the time is over; the Trainer calls it."""
        if self.is_over:
            control.should_training_stop = True
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], model: Any, **_: Any) -> None:
        """Keep a score, and the weights where it is the best; the Trainer calls it."""
        if self.is_over:
            return
        value = metrics["eval_accuracy"]
        is_best = all(value > before for _, before in self.points)
        self.points.append((time.time(), value))
        if is_best:
            self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def space_of(depth: int, trial: optuna.Trial) -> dict[str, Any]:
    """Return a configuration, by the Trainer's names."""
    rate, epochs, decay = SPACE["learning_rate"], SPACE["epochs"], SPACE["weight_decay"]
    trial.suggest_int("freeze_depth", 0, depth)
    return {
        "learning_rate": trial.suggest_float("learning_rate", rate["low"], rate["high"], log=True),
        "per_device_train_batch_size": trial.suggest_categorical("batch_size", SPACE["batch_size"]),
        "num_train_epochs": trial.suggest_int("epochs", epochs["low"], epochs["high"]),
        "weight_decay": trial.suggest_float("weight_decay", decay["low"], decay["high"]),
    }


def arguments(official: Official, options: argparse.Namespace) -> transformers.TrainingArguments:
    """Return the Trainer's settings that all trials share."""
    return transformers.TrainingArguments(
        output_dir=str(options.work / "trainer"),
        train_sampling_strategy="group_by_length" if official.processor else "random",
        per_device_eval_batch_size=EVALUATED,
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        lr_scheduler_type="linear",
        warmup_steps=WARMUP,  # below 1: a share of all steps
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=options.bf16,
        remove_unused_columns=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=options.seed,
        report_to="none",
        disable_tqdm=True,
    )


def search(options: argparse.Namespace) -> dict[str, Any]:
    """Run the search, and return its scores over time and the winner's test score."""
    column = CURVE_TASKS[options.task].column
    splits = {name: rows_of(options.work / f"{name}.csv") for name in ("train", "validation", "test")}
    official = OFFICIAL[column](options.model, splits["train"], splits["validation"] + splits["test"])
    validation = official.validation[: len(splits["validation"])]
    test = official.validation[len(splits["validation"]) :]
    depth = depths(official)[-1]
    watch = Watch(options.seconds)

    def model_init(trial: optuna.Trial | None) -> Any:
        if trial is not None:
            watch.begin()
        model = official.make()
        freeze(model, trial.suggest_int("freeze_depth", 0, depth) if trial else 0)
        return model

    trainer = transformers.Trainer(
        model_init=model_init,
        args=arguments(official, options),
        data_collator=official.collate,
        train_dataset=official.training,
        eval_dataset=validation,
        processing_class=official.processor,
        compute_metrics=lambda predicted: {"accuracy": official.score((predicted.predictions, predicted.label_ids))},
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.evaluate(validation[:8])  # so that no trial pays for work that is done once
    trainer.add_callback(watch)
    trainer.hyperparameter_search(
        hp_space=lambda trial: space_of(depth, trial),
        compute_objective=lambda metrics: metrics["eval_accuracy"],
        n_trials=100_000,
        direction="maximize",
        backend="optuna",
        timeout=options.seconds,
        sampler=optuna.samplers.TPESampler(seed=options.seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    if not watch.points:
        raise SystemExit(f"There was no score within {options.seconds:g} s: give it more with --seconds.")
    model = official.make()
    model.load_state_dict(watch.weights)
    scorer = transformers.Trainer(
        model=model,
        args=arguments(official, options),
        data_collator=official.collate,
        eval_dataset=test,
        processing_class=official.processor,
    )
    scorer.remove_callback(transformers.PrinterCallback)
    predicted = scorer.predict(test)
    return {
        "first_trial": watch.first_trial,
        "points": watch.points,
        "trials": watch.trials,
        "test": official.score((predicted.predictions, predicted.label_ids)),
    }


def main() -> None:
    """Run the search that the options name, and write the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder with train.csv, validation.csv and test.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    options, _ = parser.parse_known_args()
    quiet(options.threads)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options.out.write_text(json.dumps(search(options)))


if __name__ == "__main__":
    main()
