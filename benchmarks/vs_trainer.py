"""Compare Luthier with the search of transformers' Trainer: the same trials, in turns.

    python benchmarks/vs_trainer.py [--quick] [--device cpu|cuda] [--json] [--precision float32|bfloat16]
                                    [--dataset trec|rotten_tomatoes|both] [--seeds N] [--rows N] [--workers N]

MiniLM-L6 on TREC questions and Rotten Tomatoes sentences. Fixed configurations (mix.py), one a freeze depth and the
deepest once more; each side runs in a fresh process for each data set and seed, and the side that goes first
alternates. Ratios are the Trainer's time over Luthier's, from the first trial's start to the last one's end: imports,
and on Luthier's side the service's start and the inspection, are printed beside them.

The last line of --json: {"mix_wall_ratio":, "mix_cpu_ratio":, "deepest_wall_ratio":, "score_difference":}.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import fetch  # noqa: E402
from mix import CONFIGURATIONS, DEPTH, MIX, resident_bytes, write_splits  # noqa: E402

SAMPLE_SECONDS = 0.25
"""Between two looks at memory and the GPU."""
QUICK_ROWS = {"trec": 400, "rotten_tomatoes": 300}
FULL_ROWS = {"trec": 1500, "rotten_tomatoes": 1500}
VALIDATION_ROWS = {True: 200, False: 500}
"""By --quick."""
Run = dict[str, Any]


class Watch(threading.Thread):
    """Samples the memory of a process and its children, and the GPU's utilisation, until `end`.

    Attributes:
        peak_bytes: The most memory that a sample showed.
        utilisation: Percent, a number for each sample.
    """

    def __init__(self, pid: int, gpu: bool) -> None:
        super().__init__(daemon=True)
        self._pid, self._gpu, self._over = pid, gpu, threading.Event()
        self.peak_bytes = 0
        self.utilisation: list[float] = []
        self.start()

    def run(self) -> None:
        """Sample until the end; the thread's own function."""
        while not self._over.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, resident_bytes(self._pid))
            if self._gpu:
                asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
                done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
                numbers = done.stdout.split()
                self.utilisation += [float(numbers[0])] if numbers else []

    def end(self) -> Run:
        """Stop, and return the peak of memory and the mean utilisation; None without a GPU."""
        self._over.set()
        self.join()
        mean = statistics.mean(self.utilisation) if self.utilisation else None
        return {"peak_bytes": self.peak_bytes, "gpu_utilisation": mean}


def run(side: str, work: Path, seed: int, options: argparse.Namespace) -> Run:
    """Run one side's search over all configurations in a process of its own. Exits when it fails.

    Args:
        side: trainer or luthier.
        work: A folder with train.csv and validation.csv.
        seed: Of the search.
        options: The command line's.

    Returns:
        The side's result, with the process's peak of memory and the GPU's mean utilisation.
    """
    out = work / f"{side}.json"
    command = [sys.executable, str(Path(__file__).with_name(f"{side}_side.py")), "--model", str(options.model)]
    command += ["--work", str(work), "--out", str(out), "--seed", str(seed)]
    if side == "trainer":
        command += ["--device", options.device, "--threads", str(options.threads)]
        command += ["--bf16"] if options.trainer_bf16 else []
    else:
        command += ["--workers", str(options.workers)]
        command += ["--precision", options.precision] if options.precision else []
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["OMP_NUM_THREADS"] = str(options.threads)  # Luthier's workers share them
    environment |= {"LUTHIER_CACHE_MEMORY": "0", "LUTHIER_CACHE_DIR": str(work / "prefixes")}  # nothing from earlier
    if options.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    process = subprocess.Popen(command, env=environment, stdout=sys.stderr)  # noqa: S603
    watch = Watch(process.pid, options.device == "cuda" and shutil.which("nvidia-smi") is not None)
    code = process.wait()
    watched = watch.end()
    if code:
        sys.exit(f"The {side}'s side failed with code {code}; it says why above.")
    result: Run = json.loads(out.read_text())
    return result | watched


def compare(options: argparse.Namespace) -> list[Run]:
    """Run both sides in turns on every data set and seed, and return a pair of results for each."""
    names = ("trec", "rotten_tomatoes") if options.dataset == "both" else (options.dataset,)
    sources = {name: fetch.KNOWN[name]() for name in names}
    pairs: list[Run] = []
    for seed in range(options.seeds):
        for name in names:
            rows = options.rows or (QUICK_ROWS if options.quick else FULL_ROWS)[name]
            with tempfile.TemporaryDirectory(prefix="vs-trainer-") as folder:
                write_splits(sources[name], Path(folder), rows, VALIDATION_ROWS[options.quick], seed)
                sides = ("trainer", "luthier") if len(pairs) % 2 == 0 else ("luthier", "trainer")
                pair: Run = {side: run(side, Path(folder), seed, options) for side in sides}
            pairs.append(pair | {"dataset": name, "seed": seed, "rows": rows})
            show_phases(pairs[-1])
    return pairs


def show_phases(pair: Run) -> None:
    """Print a line for each side of a pair."""
    print(f"\n{pair['dataset']}, {pair['rows']} training rows, seed {pair['seed']}")
    print(f"  {'seconds':8} start-up inspection   mix wall    mix CPU   winner  examples/s  peak GB  GPU %")
    for side in ("trainer", "luthier"):
        one, phases = pair[side], pair[side]["phases"]
        rate = sum(c["epochs"] for c in MIX) * pair["rows"] / one["wall_seconds"]
        gpu = "-" if one["gpu_utilisation"] is None else f"{one['gpu_utilisation']:.0f}"
        print(
            f"  {side:8} {phases['start-up']:8.1f} {phases['inspection']:10.1f} {one['wall_seconds']:10.1f} "
            f"{one['cpu_seconds']:10.1f} {phases['winner']:8.1f} {rate:11.0f} {one['peak_bytes'] / 1e9:8.2f} {gpu:>6}"
        )
    sys.stdout.flush()


def show_depths(pairs: list[Run]) -> None:
    """Print a line for each configuration, over all data sets and seeds, the shallowest freeze first."""
    print("\ndepth   rate     batch epochs decay | Trainer s  Luthier s   ratio | accuracy: Trainer  Luthier")
    for i in sorted(range(len(CONFIGURATIONS)), key=lambda i: (CONFIGURATIONS[i]["freeze_depth"], i)):
        c = CONFIGURATIONS[i]
        theirs, ours = ([p[side]["trials"][i] for p in pairs] for side in ("trainer", "luthier"))
        wall = [sum(t["seconds"] for t in side) for side in (theirs, ours)]
        accuracy = [statistics.mean(t["scores"][-1] for t in side) for side in (theirs, ours)]
        again = c["freeze_depth"] == DEPTH and i >= len(MIX)
        print(
            f"{c['freeze_depth']:5}   {c['learning_rate']:<7.0e} {c['batch_size']:6} {c['epochs']:6} "
            f"{c['weight_decay']:5.2f} | {wall[0]:9.2f} {wall[1]:10.2f} {wall[0] / wall[1]:7.1f} | "
            f"{accuracy[0]:17.3f} {accuracy[1]:8.3f}" + ("   again, not in the mix" if again else "")
        )


def ratios(pairs: list[Run]) -> tuple[dict[str, float], float]:
    """Return the result, and the standard error of its score difference over configurations, data and seeds."""

    def total(key: str) -> float:
        return sum(p["trainer"][key] for p in pairs) / sum(p["luthier"][key] for p in pairs)

    deepest = [sum(p[side]["trials"][-1]["seconds"] for p in pairs) for side in ("trainer", "luthier")]
    differences = [
        ours["scores"][-1] - theirs["scores"][-1]
        for p in pairs
        for theirs, ours in zip(p["trainer"]["trials"], p["luthier"]["trials"], strict=True)
    ]
    result = {
        "mix_wall_ratio": total("wall_seconds"),
        "mix_cpu_ratio": total("cpu_seconds"),
        "deepest_wall_ratio": deepest[0] / deepest[1],
        "score_difference": statistics.mean(differences),
    }
    return result, statistics.stdev(differences) / len(differences) ** 0.5


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, one seed: minutes on 2 cores")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="Luthier's; default: its own")
    parser.add_argument("--trainer-bf16", action="store_true", help="the Trainer uses bf16 autocast too")
    parser.add_argument("--dataset", choices=("trec", "rotten_tomatoes", "both"), default="both")
    parser.add_argument("--seeds", type=int, help="default: 3, with --quick 1")
    parser.add_argument("--rows", type=int, help="training rows; default: 1,500, with --quick 300 to 400")
    parser.add_argument("--workers", type=int, default=2, help="Luthier's workers, where there is no GPU")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of each side")
    parser.add_argument("--out", type=Path, help="write all that was measured there, as JSON")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    options.seeds = options.seeds or (1 if options.quick else 3)
    return options


def main() -> None:
    """Compare both sides, and print the ratios."""
    options = parse()
    options.model = fetch.minilm()
    pairs = compare(options)
    show_depths(pairs)
    result, error = ratios(pairs)
    print(f"\nscore difference {result['score_difference']:+.4f} (standard error {error:.4f})")
    for name in ("mix_wall_ratio", "mix_cpu_ratio", "deepest_wall_ratio"):
        print(f"{name.replace('_', ' ')} {result[name]:.2f}")
    if options.out:
        options.out.write_text(json.dumps(pairs))
    if options.json:
        print(json.dumps({name: round(value, 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
