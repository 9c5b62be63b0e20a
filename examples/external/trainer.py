"""Tune a script of the Trainer of transformers: a callback reports each evaluation, and ends trials that cannot win.

    luthier serve &
    luthier create examples/external/trainer.yaml
    python examples/external/trainer.py my-finetuning models/minilm data/reviews.csv      # columns text and label

Only `LuthierCallback` and the loop in `main` are for Luthier: your own model, data and arguments stay as they are.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from luthier import Client, ExternalTrial


class LuthierCallback(TrainerCallback):
    """Reports every evaluation of a Trainer as a step of a trial, and stops the training when the service says so."""

    def __init__(self, trial: ExternalTrial) -> None:
        """Report to this trial."""
        self.trial, self.evaluations = trial, 0

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> TrainerControl:
        """Report the numbers among the metrics: eval_loss, eval_accuracy, ..."""
        self.evaluations += 1
        self.trial.report(self.evaluations, {k: v for k, v in given["metrics"].items() if k.startswith("eval_")})
        control.should_training_stop = control.should_training_stop or self.trial.should_stop
        return control


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Return the share of examples that are labelled right."""
    return {"accuracy": float(np.mean(np.argmax(prediction.predictions, axis=-1) == prediction.label_ids))}


def train(trial: ExternalTrial, model: str, data: str, folder: str) -> None:
    """Fine-tune the model with the trial's configuration."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = load_dataset("csv", data_files=data, split="train").class_encode_column("label")
    rows = rows.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True, remove_columns=["text"])
    splits = rows.train_test_split(0.2, seed=0, stratify_by_column="label")
    arguments = TrainingArguments(
        output_dir=folder,
        learning_rate=float(trial.params["learning_rate"]),
        per_device_train_batch_size=int(trial.params["per_device_train_batch_size"]),
        warmup_steps=float(trial.params["warmup_ratio"]),  # below 1: a share of all steps
        weight_decay=float(trial.params["weight_decay"]),
        num_train_epochs=trial.steps or 3,
        seed=trial.seed,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(model, num_labels=rows.features["label"].num_classes),
        args=arguments,
        train_dataset=splits["train"],
        eval_dataset=splits["test"],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
        callbacks=[LuthierCallback(trial)],
    )
    trainer.train()


def main(study: str, model: str, data: str) -> None:
    """Train whatever the study gives out, until it has ended."""
    with Client() as client:  # LUTHIER_SERVER and LUTHIER_TOKEN
        for trial in client.external_trials(study):
            with tempfile.TemporaryDirectory() as folder, trial:
                train(trial, model, data, folder)
            print(f"trial {trial.number}: {trial.ended}")
        print(client.get(study))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], str(Path(sys.argv[3]).resolve()))
