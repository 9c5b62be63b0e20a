"""The two sides of tasks_vs_trainer.py: a trial by the Trainer in this process, and the same by Luthier's worker."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from cases.case import Case, Official, Row, write
from luthier_side import ENDED, POLL_SECONDS, nothing_drawn, wait
from mix import FIXED, cpu_seconds

from luthier.service.client import Client, ServiceError
from luthier.service.schemas import TrialView
from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from luthier.studies.protocol import TrialState
from luthier.trials.model.backbone import Backbone

NAME = "fixed"
CONFLICT = 409
"""HTTP: a study that has ended cannot be cancelled."""
LOOK_SECONDS = 0.2
"""Between two looks at a trial: each costs the service CPU time."""
EVALUATED = 64
"""Rows of an evaluation batch, on both sides."""
WEIGHT_DECAY, WARMUP = 0.01, 0
"""On both sides. The Trainer's first step of a warm-up has a rate of 0, which counts where there are few steps."""
SHARED = {"weight_decay": WEIGHT_DECAY, "warmup_ratio": WARMUP}


@dataclass(frozen=True)
class Turn:
    """A trial: what it took, and its score at the end."""

    wall: float
    cpu: float
    score: float


def freeze(model: Any, depth: int) -> None:
    """Freeze a model's bottom blocks, in evaluation mode: no dropout is drawn there, no batch statistics change.

    The parameters are those that Luthier freezes, so that both sides train the same.
    """
    backbone = Backbone.find(model)
    backbone.freeze(depth)
    train = model.train

    def of_trained_parts(mode: bool = True) -> Any:
        train(mode)
        if mode and depth:
            model.train = train
            backbone.train_mode()
            model.train = of_trained_parts
        return model

    model.train = of_trained_parts


def depths(official: Official) -> tuple[int, int, int]:
    """Return the freeze depths of a case: none, half of the blocks, and all that can be frozen."""
    deepest = Backbone.find(official.make()).depth
    return 0, deepest // 2, deepest


def by_trainer(case: Case, official: Official, depth: int, seed: int, work: Path) -> Turn:
    """Run a trial by the Trainer, at its best ordinary settings: features made once, no checkpoints."""
    began, cpu = time.perf_counter(), cpu_seconds()
    transformers.set_seed(seed)
    model = official.make()
    freeze(model, depth)
    if official.writes:
        model.generation_config.max_new_tokens = official.writes
    scores: list[float] = []

    def score(predicted: Any) -> dict[str, float]:
        scores.append(official.score((predicted.predictions, predicted.label_ids)))
        return {case.metric: scores[-1]}

    trainer = (transformers.Seq2SeqTrainer if official.writes else transformers.Trainer)(
        model=model,
        args=_arguments(case, official, seed, work),
        train_dataset=official.training,
        eval_dataset=official.validation,
        data_collator=official.collate,
        processing_class=official.processor,
        compute_metrics=score,
        preprocess_logits_for_metrics=official.reduce,
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return Turn(time.perf_counter() - began, cpu_seconds() - cpu, scores[-1])


def _arguments(case: Case, official: Official, seed: int, work: Path) -> Any:
    """Return the Trainer's settings for a trial."""
    settings: dict[str, Any] = {"predict_with_generate": True} if official.writes else {}
    made = transformers.Seq2SeqTrainingArguments if official.writes else transformers.TrainingArguments
    return made(
        output_dir=str(work / "trainer"),
        learning_rate=case.params["learning_rate"],
        per_device_train_batch_size=case.params["batch_size"],
        per_device_eval_batch_size=EVALUATED,
        num_train_epochs=case.params["epochs"],
        weight_decay=WEIGHT_DECAY,
        train_sampling_strategy="group_by_length" if official.processor else "random",
        eval_strategy="epoch",
        eval_do_concat_batches=official.joined,
        save_strategy="no",
        logging_strategy="no",
        lr_scheduler_type="linear",
        warmup_steps=WARMUP,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        remove_unused_columns=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=seed,
        report_to="none",
        disable_tqdm=True,
        **settings,
    )


def predicting(official: Official, tokens: int, work: Path) -> Any:
    """Return the Trainer of transformers' examples that writes so many tokens for each row when it predicts."""
    model = official.make()
    model.generation_config.max_new_tokens = tokens
    arguments = transformers.Seq2SeqTrainingArguments(
        output_dir=str(work / "trainer"), per_device_eval_batch_size=EVALUATED, predict_with_generate=True,
        use_cpu=True, dataloader_pin_memory=False, report_to="none", disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    return transformers.Seq2SeqTrainer(
        model=model, args=arguments, data_collator=official.collate, processing_class=official.processor
    )


def spec(case: Case, model: Path, splits: dict[str, str], depths: tuple[int, ...], trials: int) -> dict[str, Any]:
    """Return a study's spec whose only choice is the freeze depth."""
    further = {} if case.writes is None else {"generation": case.writes}
    return {
        "name": NAME,
        "task": case.task,
        "model": str(model.resolve()),
        "dataset": {"source": splits, "validation": "validation", "test": 0, **case.further},
        "objective": {"metric": case.metric},
        "space": FIXED | SHARED | case.params | {"freeze_depth": sorted(set(depths))},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
        "precision": "float32",
        "budget": {"trials": trials},
        **further,
    }


class Luthier:
    """A study in an embedded service with one worker, which runs one trial at a time when it is told to.

    Args:
        client: The service's.
        case: The task.
        planned: Freeze depth and seed of each trial, in their order; the first trial is at depth 0.
    """

    def __init__(self, client: Client, case: Case, planned: list[tuple[int, int]]) -> None:
        self._client, self._metric, self._planned = client, case.metric, planned
        self.told: list[str] = []

    @classmethod
    def begin(cls, client: Client, case: Case, document: dict[str, Any], planned: list[tuple[int, int]]) -> "Luthier":
        """Create the study, wait for its inspection, and post the trials; none has run yet."""
        with nothing_drawn():
            client.create(document)
            wait(client, lambda study: study.state == "running")
            client.pause(NAME)
        for depth, seed in planned[1:]:
            _post(client, depth, seed)
        return cls(client, case, planned)

    def turn(self, number: int) -> Turn:
        """Run a trial, and no other."""
        cpu = cpu_seconds()
        self._client.resume(NAME)
        self._wait(number, lambda trial: trial.state != TrialState.QUEUED)
        if number + 1 < len(self._planned):  # behind the last one the study ends by itself
            self._client.pause(NAME)
        trial = self._wait(number, lambda trial: trial.state not in (TrialState.QUEUED, TrialState.RUNNING))
        if trial.state != TrialState.COMPLETE or trial.params["freeze_depth"] != self._planned[number][0]:
            raise SystemExit(f"Luthier's trial {number}: {trial.state}, {trial.params}: {trial.error}")
        self.told.append(self._client.logs(NAME, number))
        value = trial.values[-1].metrics[self._metric]
        return Turn(trial.seconds or 0.0, cpu_seconds() - cpu, float("nan") if value is None else value)

    def end(self) -> None:
        """Cancel the study, so that its winner is not packed, and delete it."""
        try:
            self._client.cancel(NAME)
        except ServiceError as error:
            if error.status != CONFLICT:  # it has ended
                raise
        wait(self._client, lambda study: study.state in ENDED)
        self._client.delete(NAME)

    def _wait(self, number: int, done: Callable[[TrialView], bool]) -> TrialView:
        while not done(trial := self._client.trial(NAME, number)):
            time.sleep(LOOK_SECONDS)
        return trial


def _post(client: Client, depth: int, seed: int) -> None:
    """Post a trial, again while the service is busy."""
    while True:
        try:
            client.enqueue(NAME, {"freeze_depth": depth}, seed)
            return
        except ServiceError as error:
            if error.status != 503:
                raise
            time.sleep(1)


@contextlib.contextmanager
def serving(home: Path) -> Iterator[Client]:
    """Run a service with one worker, and yield a client of it once the worker asks for work."""
    settings = Settings(home=home, cpu_workers=1)
    with Embedded(settings, study=NAME) as service, Client(service.url, service.token) as client:
        while not any(True for _ in client.workers()):
            time.sleep(POLL_SECONDS)
        yield client


def splits_of(training: list[Row], validation: list[Row], folder: Path) -> dict[str, str]:
    """Write both splits, and return the source of a spec."""
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "train": write(training, folder / "train.jsonl"),
        "validation": write(validation, folder / "validation.jsonl"),
    }


def quiet(threads: int) -> None:
    """Let transformers say nothing but errors, and torch use so many threads."""
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
