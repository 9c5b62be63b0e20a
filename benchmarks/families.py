"""Measure training steps of model families beside the Trainer's, and beside what a matrix product reaches.

    python benchmarks/families.py [--only bert,resnet] [--precision auto|bfloat16] [--quick] [--json]

BERT is MiniLM on TREC, MobileNetV2 is pretrained on CIFAR-10, the Whisper encoder hears sentences; ViT (6 blocks of
384) and ResNet-50 have random weights and see CIFAR-10 at 96 by 96 pixels. Both sides train everything, in the same
number format, on the same rows, in turns in this process, in one thread: Luthier's `train_steps`, and `Trainer.train`
on inputs that were made before, without evaluations. Time is CPU time, so that other programs matter little. The
limit is arithmetic: the operations of Luthier's step, which leaves padding out, as torch.utils.flop_counter counts
them, at the rate of a matrix product of 1024 by 1024 in the same format in this process.

The last line of --json: {"FAMILY": {"examples_per_second":, "trainer":, "ratio":, "limit":, "share":,
"channels_last":}}.
"""

import argparse
import csv
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from cases.case import DATA, MODELS, saved
from step import Quiet, batches
from torch.utils.flop_counter import FlopCounterMode

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.spec import StudySpec
from luthier.studies.tasks import TASKS
from luthier.trials.jobs.train import train_steps
from luthier.trials.model.memory_format import is_channels_last
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import Trial, open_trial

SIDE, ROUNDS, WARM = 1024, 3, 2
IMAGES = {"height": 96, "width": 96}


@dataclass(frozen=True)
class Family:
    """A family: its task, how its model comes into a folder, its batch, and its rows as a table of two columns."""

    task: str
    model: Callable[[Path], Path]
    batch: int
    rows: Callable[[int], list[tuple[str, str]]]


def vit(folder: Path) -> Path:
    """Save a ViT with random weights."""
    config = transformers.ViTConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=6, intermediate_size=1536, image_size=96
    )
    return saved(folder, lambda: transformers.ViTModel(config), transformers.ViTImageProcessor(size=IMAGES))


def resnet(folder: Path) -> Path:
    """Save a ResNet-50 with random weights."""
    processor = transformers.ViTImageProcessor(size=IMAGES)
    return saved(folder, lambda: transformers.ResNetModel(transformers.ResNetConfig()), processor)


def texts(count: int) -> list[tuple[str, str]]:
    """Return questions of TREC."""
    with (DATA / "trec.csv").open(newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)][:count]


def images(count: int) -> list[tuple[str, str]]:
    """Return photographs of CIFAR-10, of its ten classes in turn."""
    classes = sorted(path for path in (DATA / "cifar10").iterdir() if path.is_dir())
    found = zip(*(sorted(folder.rglob("*.*"))[:count] for folder in classes), strict=False)
    return [(str(path), path.parent.name) for paths in found for path in paths][:count]


def sounds(count: int) -> list[tuple[str, str]]:
    """Return spoken sentences, of two classes in turn."""
    files = sorted((DATA / "speech").glob("*.wav"))[:count]
    return [(str(path), "ab"[number % 2]) for number, path in enumerate(files)]


FAMILIES = {
    "bert": Family("text-classification", lambda folder: MODELS / "minilm", 32, texts),
    "vit": Family("image-classification", vit, 16, images),
    "mobilenet_v2": Family("image-classification", lambda folder: MODELS / "mobilenet_v2", 16, images),
    "resnet": Family("image-classification", resnet, 16, images),
    "whisper_encoder": Family("audio-classification", lambda folder: MODELS / "whisper_encoder", 8, sounds),
}


@contextmanager
def opened(family: Family, steps: int, precision: str, folder: Path) -> Iterator[Trial]:
    """Set a trial of a family up, on rows for so many steps."""
    rows = family.rows((steps + WARM) * family.batch + 2 * family.batch)
    column = next(name for name in TASKS[family.task].columns if name not in ("label", "labels"))
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([(column, "label"), *rows])
    space = {"learning_rate": 1e-4, "batch_size": family.batch, "epochs": 1, "warmup_ratio": 0}
    share = family.batch / len(rows)
    spec = {
        "name": "families",
        "task": family.task,
        "model": str(family.model(folder / "model")),
        "dataset": {"source": str(folder / "rows.csv"), "validation": share, "test": 0},
        "space": space,
        "precision": precision,
        "semantics": NEWEST_SEMANTICS,
    }
    known = {"id": 1, "token": "none", "attempt": 1, "lease_seconds": 60, "study": "families", "seed": 7, "store": ""}
    known |= {"kind": AssignmentKind.TRAIN, "store_mark": "", "inspection": None}
    params = complete(space, TASKS[family.task].baseline)
    work = Assignment.model_validate(known | {"spec": StudySpec.model_validate(spec), "params": params})
    with open_trial(work, Quiet(folder), ModelCache()) as trial:
        yield trial


class Clock(transformers.TrainerCallback):
    """The CPU seconds of the Trainer's steps after the first ones."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Begin after the first steps; the last step ends it."""
        self.ended = time.process_time()
        if state.global_step == WARM:
            self.began = self.ended


def trainers_rate(model: Any, items: list[dict[str, Any]], collate: Any, batch: int, precision: str) -> float:
    """Return the examples a second of the Trainer on inputs that are made already."""
    clock = Clock()
    arguments = transformers.TrainingArguments(
        output_dir="/nonexistent", per_device_train_batch_size=batch, num_train_epochs=1, learning_rate=1e-4,
        weight_decay=0.01, optim="adamw_torch_fused", save_strategy="no", logging_strategy="no", report_to="none",
        disable_tqdm=True, remove_unused_columns=False, use_cpu=True, dataloader_pin_memory=False,
        train_sampling_strategy="random", bf16=precision == "bfloat16",
    )  # fmt: skip
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=items, data_collator=collate)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(clock)
    trainer.train()
    return (len(items) - WARM * batch) / (clock.ended - clock.began)


def own_rate(trial: Trial, given: list[list[int]]) -> float:
    """Return the examples a second of Luthier's steps."""
    with trial.unfreezing.training():
        train_steps(trial, given[:WARM], 0)
        began = time.process_time()
        train_steps(trial, given[WARM:], 0)
    return sum(map(len, given[WARM:])) / (time.process_time() - began)


def products_rate(precision: str) -> float:
    """Return the operations a second of a matrix product, the best of some."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    one, other = (torch.randn(SIDE, SIDE, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(5):
        began = time.process_time()
        one @ other
        seconds.append(time.process_time() - began)
    return 2 * SIDE**3 / min(seconds)


def operations(trial: Trial, rows: list[int]) -> int:
    """Return the operations of a forward and a backward pass: thrice those of the forward.

    The counter takes the backward pass of a convolution in groups for that of a whole one.
    """
    with trial.unfreezing.training(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        trial.engine.outputs(trial.training, rows)
    return 3 * int(counter.get_total_flops())


def items_of(trial: Trial, steps: int, batch: int) -> tuple[list[dict[str, Any]], Any]:
    """Return the training rows as the Trainer takes them, and its collator."""
    rows = range((steps + WARM) * batch)
    labels = trial.study.task.collate_targets(trial.training, rows)["labels"].tolist()
    if "input_ids" in trial.training.columns:
        columns = trial.training.columns
        items = [{name: list(columns[name][i]) for name in columns} | {"labels": labels[i]} for i in rows]
        return items, transformers.DataCollatorWithPadding(trial.study.pretrained.processor)
    made = [trial.study.task.collate(trial.training, [i]) for i in rows]
    items = [{name: values[0] for name, values in one.items()} | {"labels": labels[i]} for i, one in enumerate(made)]
    return items, transformers.default_data_collator


def measured(name: str, steps: int, rounds: int, precision: str) -> dict[str, Any]:
    """Return the row of a family."""
    family, own, others, peaks = FAMILIES[name], list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder, opened(family, steps, precision, Path(folder)) as trial:
        auto = type(trial.model)
        items, collate = items_of(trial, steps, family.batch)
        given = batches(trial, family.batch)[: steps + WARM]
        for _ in range(rounds):
            own.append(own_rate(trial, given))
            rival = auto(trial.model.config)
            others.append(trainers_rate(rival, items, collate, family.batch, precision))
            peaks.append(products_rate(precision))
        done = operations(trial, given[0]) / family.batch
        limit = max(peaks) / done
        return {
            "examples_per_second": round(statistics.median(own), 1),
            "trainer": round(statistics.median(others), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(own, others, strict=True)), 2),
            "limit": round(limit, 1),
            "share": round(max(own) / limit, 2),
            "channels_last": is_channels_last(trial.model),
        }


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(FAMILIES))
    parser.add_argument("--precision", default="auto", choices=("auto", "bfloat16"))
    parser.add_argument("--quick", action="store_true", help="three steps, two rounds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    steps, rounds = (3, 2) if options.quick else (8, ROUNDS)
    table = {}
    for name in options.only.split(","):
        table[name] = measured(name, steps, rounds, options.precision)
        print(name, table[name], flush=True)
    if options.json:
        print(json.dumps(table))


if __name__ == "__main__":
    main()
