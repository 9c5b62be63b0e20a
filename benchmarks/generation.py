"""Measure how fast models write: in batches with a cache, as Luthier has them write, and otherwise.

    python benchmarks/generation.py [CASE ...] [--rows 64] [--tokens 32] [--rounds 3] [--threads 1] [--json]

Small models with random weights, which never end a text by themselves, write for the same rows: Luthier's evaluation
with its losses and scores; `generate` row by row, with and without its cache; and `predict` of transformers'
Seq2SeqTrainer with `predict_with_generate`, as run_translation.py and run_speech_recognition_seq2seq.py call it (there
is none for causal models). CPU seconds, in turns; the share of writing is the one that a trial's log has.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}

import torch
from cases import sounds, writing
from cases.case import Row
from task_sides import EVALUATED, predicting, quiet

from luthier.studies.strategy import Generation
from luthier.trials.data.splits import Split
from luthier.trials.data.text_targets import COMPLETION, TextTargets, TranslationTargets
from luthier.trials.data.transcripts import Transcripts
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.engine import Engine
from luthier.trials.training.generation import Writing
from luthier.trials.training.micro_batch import MicroBatch

LENGTH = 64


def prompts(count: int) -> list[Row]:
    """Return halves of paragraphs as prompt and completion."""
    rows = (row["text"].split() for row in writing.paragraphs(count))
    return [
        {"prompt": " ".join(ws[: len(ws) // 2 + 1]), "completion": " ".join(ws[len(ws) // 2 + 1 :]) or "."}
        for ws in rows
    ]


CASES: dict[str, tuple[str, Callable[[Path], Path], Callable[[int], list[Row]], str, Any, Any]] = {
    "text-generation": ("text-generation", writing.gpt2, prompts, "completion", TextTargets(COMPLETION), None),
    "text2text-generation": (
        "text2text-generation", writing.bart, writing.translations, "target", TranslationTargets("target"),
        writing.CASES["text2text-generation"].official,
    ),
    "whisper": (
        "automatic-speech-recognition", sounds.whisper, lambda count: sounds.sentences("text", "text", count), "text",
        Transcripts(()), sounds.CASES["speech-whisper"].official,
    ),
}  # fmt: skip
"""Name -> task, model, rows, the column that is written, targets, and the Trainer's side."""


def ways(name: str, folder: Path, rows: list[Row], tokens: int) -> dict[str, Callable[[], float | None]]:
    """Return the ways in which the rows are written; each returns the share of writing where it knows it."""
    task_name, make, _, target, targets, official = CASES[name]
    model_folder = make(folder / "model")
    task = task_code(task_name)
    pretrained = task.load(model_folder, name, targets)
    columns = {column: [Path(row[column]) if column == "audio" else row[column] for row in rows] for column in rows[0]}
    split = Split(columns, columns.pop(target))
    encoded = task.encode(pretrained, split, LENGTH)
    generation = Generation(max_new_tokens=tokens)
    engine = Engine(pretrained.model, task, MicroBatch(), precision="float32")
    settings: Any = pretrained.model.generation_config

    def ours() -> float:
        at_work, began = Writing(generation), time.perf_counter()
        engine.evaluate(encoded, targets, writing=at_work)
        return at_work.clock.seconds / (time.perf_counter() - began)

    @torch.no_grad()
    def alone(cache: bool) -> None:
        for row in range(len(encoded)):
            inputs = dict(task.collate(encoded, [row]))
            inputs.pop("decoder_input_ids", None)
            if task_name == "text-generation":  # the prompt without its completion
                ids = torch.tensor([list(encoded.targets["prompts"][row])])
                inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            pretrained.model.generate(
                **inputs, max_new_tokens=tokens, do_sample=False, use_cache=cache, pad_token_id=settings.pad_token_id
            )

    found: dict[str, Callable[[], Any]] = {
        "Luthier's evaluation": ours,
        "row by row": lambda: alone(True),
        "row by row, no cache": lambda: alone(False),
    }
    if official is not None:
        side = official(model_folder, rows, rows)
        trainer = predicting(side, tokens, folder)
        found["predict_with_generate"] = lambda: trainer.predict(side.validation) and None
    return found


def main() -> None:
    """Measure each way in turns, and print tokens a second of CPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"one of {', '.join(CASES)}; default: all")
    parser.add_argument("--rows", type=int, default=EVALUATED)
    parser.add_argument("--tokens", type=int, default=32, help="that are written for each row")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    quiet(options.threads)
    results: dict[str, dict[str, float]] = {}
    for name in options.cases or CASES:
        rows = CASES[name][2](options.rows)
        with tempfile.TemporaryDirectory(prefix="generation-") as folder:
            found = ways(name, Path(folder), rows, options.tokens)
            seconds: dict[str, list[float]] = {way: [] for way in found}
            shares = []
            for _ in range(options.rounds):
                for way, run in found.items():
                    began = time.process_time()
                    share = run()
                    seconds[way].append(time.process_time() - began)
                    shares += [] if share is None else [share]
        rates = {way: len(rows) * options.tokens / statistics.median(own) for way, own in seconds.items()}
        results[name] = rates | {"share of writing": statistics.median(shares)}
        print(name, *(f"  {way:22} {rate:8,.0f} tokens/s" for way, rate in rates.items()), sep="\n")
        print(f"  writing is {100 * results[name]['share of writing']:.0f} % of Luthier's evaluation", flush=True)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
