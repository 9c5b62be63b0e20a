"""The cost of findings and of large data: time of an inspection with and without findings, and peak memory.

    python benchmarks/findings.py [--rows 100000] [--many 2000000] [--cell 20000000] [--rounds 3] [--json]

An inspection of text with a BERT of two narrow layers, in turns: as an inspection is, without looking for findings, and
as it was before rows with the same input were drawn onto one side (semantics 1). Then the peak memory of a fresh
process that reads many rows, and of one that inspects data with a single huge cell.
"""

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from luthier.studies.dataset import Dataset
from luthier.trials.data import load
from luthier.trials.data.class_targets import ClassTargets

Row = tuple[str, str]
LABELS = ("negative", "neutral", "positive")
REPEATED = 0.2  # share of the rows that repeat another


def texts(rows: int, seed: int = 0) -> list[Row]:
    """Return rows of 5 to 25 words, some of which repeat others."""
    draw = random.Random(seed)  # noqa: S311
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5000)]
    found = [(f"{' '.join(draw.choices(words, k=draw.randint(5, 25)))} {i}", LABELS[i % 3]) for i in range(rows)]
    return [draw.choice(found) if draw.random() < REPEATED else row for row in found]


def write(path: Path, rows: list[Row]) -> Path:
    """Write rows as the ending says, and return the path."""
    if path.suffix == ".parquet":
        table = pyarrow.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".json":
        path.write_text(json.dumps([{"text": text, "label": label} for text, label in rows]), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    return path


def model(folder: Path) -> Path:
    """Save a small BERT whose words are letters, and its tokenizer."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(names), max_position_embeddings=128, **sizes)).save_pretrained(folder)
    vocabulary = {name: i for i, name in enumerate(names)}
    BertTokenizerFast(vocab=vocabulary, model_max_length=128).save_pretrained(folder)
    return folder


class Session:
    """A session that keeps nothing."""

    folder = Path()

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **options: None


def inspect_once(source: Path, folder: Path, semantics: int = 2) -> None:
    """Inspect data and model as a worker does."""
    from luthier.studies.hyperparameters import complete
    from luthier.studies.protocol import Assignment, AssignmentKind
    from luthier.studies.spec import StudySpec
    from luthier.trials.jobs.inspect import inspect
    from luthier.trials.training.model_cache import ModelCache

    spec = {
        "name": "findings",
        "task": "text-classification",
        "model": str(folder),
        "dataset": {"source": str(source)},
        "space": {"learning_rate": 1e-4},
        "semantics": semantics,
    }
    known: dict[str, Any] = {"id": 1, "token": "t", "attempt": 1, "lease_seconds": 60, "study": "s", "store": ""}
    made = StudySpec.model_validate(spec)
    known |= {"kind": AssignmentKind.INSPECT, "spec": made, "store_mark": "", "seed": 0, "inspection": None}
    inspect(
        Assignment.model_validate(known | {"params": complete({}, made.task_info.baseline)}),
        Session(),  # type: ignore[arg-type]
        ModelCache(),
    )


def without_findings(inspect: Callable[[], None]) -> None:
    """Do an inspection whose data are read as for a trial."""
    from luthier.trials.training import model_cache

    known = model_cache.load_data
    model_cache.load_data = lambda dataset, task, kind, seed, verify, semantics: known(
        dataset, task, kind, seed, False, semantics
    )
    try:
        inspect()
    finally:
        model_cache.load_data = known


def compare(rows: int, rounds: int, folder: Path) -> dict[str, float]:
    """Return the seconds of an inspection, the median of some rounds, and the share of it that findings take."""
    import torch

    torch.set_num_threads(1)
    source = write(folder / "rows.csv", texts(rows))
    small = model(folder / "model")
    ways: dict[str, Callable[[], None]] = {
        "with findings": partial(inspect_once, source, small),
        "without findings": partial(without_findings, partial(inspect_once, source, small)),
        "semantics 1": partial(inspect_once, source, small, 1),
    }
    ways["semantics 1"]()  # imports and files
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)
    found = {f"cpu_seconds {name}": round(statistics.median(values), 2) for name, values in seconds.items()}
    pairs = zip(seconds["with findings"], seconds["without findings"], strict=True)
    return found | {"ratio": round(statistics.median(a / b for a, b in pairs), 3)}


def child(what: str, source: Path, folder: Path) -> None:
    """Read or inspect in this process, and print its peak memory over that of its imports, and its seconds."""
    import torch

    import luthier.trials.jobs.inspect  # noqa: F401

    torch.set_num_threads(1)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak of the imports
    base, began = _memory("VmRSS"), time.perf_counter()
    if what == "read":
        load.load_data(
            Dataset.model_validate({"source": str(source)}), "text-classification", ClassTargets, 0, verify=True
        )
    else:
        inspect_once(source, folder)
    print(
        json.dumps(
            {"peak_mb": round((_memory("VmHWM") - base) / 1e6), "seconds": round(time.perf_counter() - began, 1)}
        )
    )


def _memory(name: str) -> int:
    """Return a number of bytes that Linux knows of this process: VmRSS, what it holds, or VmHWM, the peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measure(what: str, source: Path, folder: Path) -> dict[str, Any]:
    """Return what a fresh process says of its memory."""
    command = [sys.executable, __file__, "--child", what, str(source), str(folder)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603
    return {"what": f"{what} {source.name}", "file_mb": round(source.stat().st_size / 1e6), **json.loads(answer.stdout)}


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="of the inspections")
    parser.add_argument("--many", type=int, default=2_000_000, help="rows that are read")
    parser.add_argument("--cell", type=int, default=20_000_000, help="characters of the huge cell")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, source, folder = options.child
        return child(what, Path(source), Path(folder))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results: list[dict[str, Any]] = [{"rows": options.rows} | compare(options.rows, options.rounds, folder)]
        print(results[-1], flush=True)
        rows = texts(options.many)
        many = [write(folder / f"many.{ending}", rows) for ending in ("csv", "parquet")]
        del rows
        for source in many:
            results.append(measure("read", source, folder / "model"))
            results[-1]["bytes_per_row"] = round(1e6 * results[-1]["peak_mb"] / options.many)
            print(results[-1], flush=True)
        cell = [*texts(200), ("lorem ipsum dolor " * (options.cell // 18), LABELS[0])]
        for ending in ("csv", "json"):
            for what in ("read", "inspect"):
                results.append(measure(what, write(folder / f"cell.{ending}", cell), folder / "model"))
                print(results[-1], flush=True)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
