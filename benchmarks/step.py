"""Compare a training step with a plain PyTorch loop over the same batches, and show where the step's time goes.

    python benchmarks/step.py [--layers 12] [--hidden 768] [--tokens 128] [--batch 64] [--rows 3840] [--rounds 2]
                              [--model FOLDER --data FILE.csv] [--precision auto|float32|bfloat16] [--json]

A BERT of random weights, or a model and texts that are given, is fine-tuned at freeze depth 0, on a GPU where there is
one. Both sides take turns in this
process: Luthier's `train`, with evaluations left out, and a loop of forward, backward, clipping and a fused AdamW, in
the same precision. Then ten of Luthier's steps run under torch's profiler: `device_share` is the share of their time
in which the device computed, `launches` counts kernels a step; a share far below 1: the step waits for Python.

The last line of --json: {"rate_ratio":, "examples_per_second":, "plain_examples_per_second":, "device_share":,
"launches":, "precision":, "device":, "longest": [{"name":, "ms_a_step":}], "share":, "product_gflops":}.

`share` is the share that a step reaches of what a large matrix product does in the same format, both measured in turns,
on a CPU by CPU time: the products that the step really computes, counted by torch without padding that it leaves out.
"""

import argparse
import csv
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from memory import tokenizer
from product import clock, product_rate
from torch.utils.flop_counter import FlopCounterMode

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.spec import StudySpec
from luthier.studies.tasks import TASKS
from luthier.trials.jobs.train import train_steps
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import Trial, open_trial

VOCABULARY, PROFILED, WARM, LONGEST, HEAD_SIZE = 2000, 10, 3, 12, 64
TRAINED = 0.95  # share of the rows
TASK = "text-classification"


class Quiet:
    """A session without a worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def poll(self) -> None:
        """Let the trial go on."""

    def log(self, text: str) -> None:
        """Print a line of the trial's log."""
        print(f"  {text}")

    def hold(self, seconds: float) -> None:
        """Count no wait."""

    def report(self, **told: Any) -> None:
        """Take no report."""


def write(folder: Path, options: argparse.Namespace) -> None:
    """Write the model and a csv of texts that are each as long as the batch allows; what is given is used as it is."""
    if options.data:
        head = Path(options.data).read_text().splitlines()[: options.rows + 1]
        (folder / "rows.csv").write_text("\n".join(head) + "\n")
    if options.model:
        return
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=max(1, options.hidden // HEAD_SIZE),
        intermediate_size=4 * options.hidden,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder / "model")
    tokenizer(VOCABULARY).save_pretrained(folder / "model")
    if options.data:
        return
    drawn = random.Random(0)  # noqa: S311
    with (folder / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for number in range(options.rows):
            words = (f"w{drawn.randrange(10, VOCABULARY)}" for _ in range(options.tokens))
            rows.writerow([" ".join(words), "ab"[number % 2]])


def assignment(folder: Path, options: argparse.Namespace) -> Assignment:
    """Return the trial: no warm-up, one epoch."""
    space = {"learning_rate": 2e-5, "batch_size": options.batch, "epochs": 1, "max_length": options.tokens}
    space |= {"freeze_depth": options.depth, "scheduler": "constant", "warmup_ratio": 0}
    spec = {
        "name": "step",
        "task": TASK,
        "model": str(Path(options.model).resolve() if options.model else folder / "model"),
        "dataset": {"source": str(folder / "rows.csv"), "validation": 1 - TRAINED, "test": 0},
        "space": space,
        "precision": options.precision,
    }
    known = {"id": 1, "token": "none", "attempt": 1, "lease_seconds": 60, "study": "step", "seed": 7, "store": ""}
    known |= {"kind": AssignmentKind.TRAIN, "store_mark": "", "inspection": None}
    params = complete(space, TASKS[TASK].baseline)
    return Assignment.model_validate(known | {"spec": StudySpec.model_validate(spec), "params": params})


def batches(trial: Trial, size: int) -> list[list[int]]:
    """Return whole batches of the training split, in order."""
    rows = len(trial.training) // size * size
    return [list(range(start, start + size)) for start in range(0, rows, size)]


def settle(device: torch.device) -> float:
    """Wait for the device, and return the time in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def own_rate(trial: Trial, given: list[list[int]]) -> float:
    """Return the examples a second of Luthier's steps."""
    trial.model.train()
    train_steps(trial, given[:WARM], 0)
    began = settle(trial.engine.device)
    train_steps(trial, given, 0)
    return sum(map(len, given)) / (settle(trial.engine.device) - began)


def plain_rate(trial: Trial, given: list[list[int]]) -> float:
    """Return the examples a second of a loop as a person would write it."""
    engine = trial.engine
    targets = torch.tensor([number % 2 for number in range(len(trial.training))])
    optimizer = torch.optim.AdamW(engine.trained, lr=2e-5, fused=True)
    trial.model.train()

    def step(rows: list[int]) -> None:
        inputs = engine.collate(trial.training, rows)  # padded to the longest
        with engine.precision.autocast():
            logits = trial.model(**inputs).logits
        torch.nn.functional.cross_entropy(logits.float(), targets[rows].to(engine.device)).backward()
        torch.nn.utils.clip_grad_norm_(engine.trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for rows in given[:WARM]:
        step(rows)
    began = settle(engine.device)
    for rows in given:
        step(rows)
    return sum(map(len, given)) / (settle(engine.device) - began)


def share_of_product(trial: Trial, given: list[list[int]], rounds: int) -> dict[str, float]:
    """Return the share of a matrix product's rate that steps reach, and that rate in GFLOP/s."""
    device = trial.engine.device
    dtype = torch.bfloat16 if trial.engine.precision.bfloat16 else torch.float32
    trial.model.train()
    with FlopCounterMode(display=False) as counter:
        train_steps(trial, given, 0)
    shares, products = [], []
    for _ in range(rounds):
        product = product_rate(device, dtype)
        began = clock(device)
        train_steps(trial, given, 0)
        shares.append(counter.get_total_flops() / (clock(device) - began) / product)
        products.append(product / 1e9)
    return {"share": round(statistics.median(shares), 3), "product_gflops": round(statistics.median(products), 1)}


def profiled(trial: Trial, given: list[list[int]]) -> dict[str, Any]:
    """Return where the time of some of Luthier's steps goes."""
    on_gpu = trial.engine.device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * on_gpu
    with torch.profiler.profile(activities=kinds) as profile:
        began = settle(trial.engine.device)
        train_steps(trial, given[:PROFILED], 0)
        seconds = settle(trial.engine.device) - began
    steps = len(given[:PROFILED])
    totals: dict[str, float] = {}
    kernels = 0
    for event in profile.events() or []:
        on_device = event.device_type == torch.autograd.DeviceType.CUDA
        if on_device != on_gpu:
            continue
        kernels += 1
        taken = event.device_time_total if on_gpu else event.self_cpu_time_total  # microseconds
        totals[event.name] = totals.get(event.name, 0.0) + taken
    longest = sorted(totals.items(), key=lambda item: -item[1])[:LONGEST]
    return {
        "device_share": round(sum(totals.values()) / 1e6 / seconds, 3),
        "launches": round(kernels / steps),
        "longest": [{"name": name[:80], "ms_a_step": round(us / 1e3 / steps, 3)} for name, us in longest],
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure both sides in turns, then profile."""
    with tempfile.TemporaryDirectory(prefix="step-") as name:
        folder = Path(name)
        write(folder, options)
        with open_trial(assignment(folder, options), Quiet(folder), ModelCache()) as trial:
            given = batches(trial, options.batch)
            rates = [(own_rate(trial, given), plain_rate(trial, given)) for _ in range(options.rounds)]
            device = trial.engine.device
            found = {
                "rate_ratio": round(statistics.median(own / plain for own, plain in rates), 3),
                "examples_per_second": round(statistics.median(own for own, _ in rates), 1),
                "plain_examples_per_second": round(statistics.median(plain for _, plain in rates), 1),
                "precision": trial.engine.precision.key,
                "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            }
            shares = share_of_product(trial, given, options.rounds)
            return found | shares | profiled(trial, given)


def main() -> None:
    """Print the ratio, and what the step's time goes to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("layers", 12), ("hidden", 768), ("tokens", 128), ("batch", 64), ("rows", 3840)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", help="folder of a model; without it a BERT of random weights")
    parser.add_argument("--data", help="a csv with the columns text and label; without it texts of random words")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.depth = 0
    found = measure(options)
    print(f"Luthier's step runs at {found['rate_ratio']:.2f} of the plain loop's rate; {found['device']}.")
    product = f"{found['product_gflops']:.0f} GFLOP/s in {found['precision']}"
    print(f"It reaches {found['share']:.0%} of what a matrix product does there ({product}).")
    for one in found["longest"]:
        print(f"  {one['ms_a_step']:9.3f} ms a step  {one['name']}")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
