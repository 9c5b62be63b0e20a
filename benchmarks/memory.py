"""Show that memory is bounded by a batch: studies whose validation and test splits are ten times as large.

    python benchmarks/memory.py [TASK ...] [--rows 2000 20000] [--vocabulary 50000] [--json]

Each run is a whole study in fresh processes, as `luthier run` has it: inspection, a trial that trains on a few rows and
evaluates the others, and the winner's test score, with every text written. Models are as narrow as their vocabulary is
wide. Printed is the peak of the largest process, beside the bytes that the logits of the split would take, computed.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

TRAINING = 32
"""Training rows."""
WORDS = 3
"""Words of a prompt, of an answer, of a sentence."""
LOOK_SECONDS = 0.2
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
NARROW = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2}
Row = dict[str, Any]


def tokenizer(words: int) -> Any:
    """Return a tokenizer of so many words, `w4` and so on, which ends each text with `</s>`."""
    names = [*SPECIAL.values(), *(f"w{i}" for i in range(len(SPECIAL), words))]
    found = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=SPECIAL["unk_token"]))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    inputs = ["input_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=found, model_max_length=32, model_input_names=inputs, **SPECIAL
    )


def gpt2(words: int) -> Any:
    """Return a narrow GPT-2."""
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=words, n_positions=32, n_embd=16, n_layer=2, n_head=2, **IDS)
    )


def bart(words: int) -> Any:
    """Return a narrow BART."""
    shape = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = transformers.BartConfig(
        vocab_size=words, d_model=16, max_position_embeddings=32, encoder_ffn_dim=32, decoder_ffn_dim=32,
        decoder_start_token_id=2, forced_eos_token_id=None, forced_bos_token_id=None, **IDS, **shape,
    )  # fmt: skip
    return transformers.BartForConditionalGeneration(config)


def bert(words: int) -> Any:
    """Return a narrow BERT."""
    return transformers.BertModel(transformers.BertConfig(vocab_size=words, max_position_embeddings=32, **NARROW))


def _texts(draw: random.Random, words: int) -> str:
    return " ".join(f"w{draw.randrange(len(SPECIAL), words)}" for _ in range(WORDS))


def completion(draw: random.Random, words: int) -> Row:
    """Return a prompt with its completion."""
    return {"prompt": _texts(draw, words), "completion": _texts(draw, words)}


def pair(draw: random.Random, words: int) -> Row:
    """Return a source with its target."""
    return {"source": _texts(draw, words), "target": _texts(draw, words)}


def sentence(draw: random.Random, words: int) -> Row:
    """Return words with tags."""
    tokens = _texts(draw, words).split()
    return {"tokens": tokens, "ner_tags": [f"B-{int(token[1:]) % 8}" for token in tokens]}


WRITES = {"max_new_tokens": WORDS}
TASKS: dict[str, tuple[Callable[[int], Any], Callable[[random.Random, int], Row], dict[str, Any]]] = {
    "text-generation": (gpt2, completion, {"generation": WRITES}),
    "text2text-generation": (bart, pair, {"generation": WRITES}),
    "token-classification": (bert, sentence, {}),
}
"""Task -> its model, its rows, and what its spec has of its own."""


class Peak(threading.Thread):
    """Finds the most memory that one process of a family has had, until `end`."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._over, self._bytes = pid, threading.Event(), 0
        self.start()

    def run(self) -> None:
        """Look at every process again and again; each knows its own peak."""
        while not self._over.wait(LOOK_SECONDS):
            for process in psutil.Process(self._pid).children(recursive=True):
                try:
                    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                except OSError:
                    continue
                peaks = [int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")]
                self._bytes = max(self._bytes, *(1024 * peak for peak in peaks), 0)

    def end(self) -> int:
        """Stop, and return the peak in bytes."""
        self._over.set()
        self.join()
        return self._bytes


def measure(task: str, rows: int, vocabulary: int) -> int:
    """Run a study with so many validation and test rows, and return the peak of its largest process in bytes."""
    model, row, further = TASKS[task]
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        model(vocabulary).save_pretrained(folder / "model")
        tokenizer(vocabulary).save_pretrained(folder / "model")
        source = {}
        for split, count in (("train", TRAINING), ("validation", rows), ("test", rows)):
            draw = random.Random(split)  # noqa: S311 - reproducible, not secret
            lines = (json.dumps(row(draw, vocabulary)) for _ in range(count))
            source[split] = str(folder / f"{split}.jsonl")
            Path(source[split]).write_text("\n".join(lines), encoding="utf-8")
        spec = {"name": "memory", "task": task, "model": str(folder / "model"), "dataset": {"source": source}}
        spec |= {"space": {"learning_rate": 1e-3, "batch_size": 16, "epochs": 1}, "budget": {"trials": 1}, **further}
        (folder / "study.json").write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-c", "from luthier.service.cli import main; main()", "run"]
        environment = os.environ | {"LUTHIER_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(  # noqa: S603
            [*command, str(folder / "study.json"), "--json"], env=environment, stdout=sys.stderr
        )
        peak = Peak(os.getpid())
        code = process.wait()
        found = peak.end()
        if code:
            sys.exit(f"The study of {task} failed with code {code}; it says why above.")
        return found


def kept_bytes(task: str, rows: int, vocabulary: int) -> int:
    """Return the bytes of a split's float32 logits: of the learned tokens, or of the tags of the words."""
    width, tokens = (8, WORDS) if task == "token-classification" else (vocabulary, WORDS + 1)
    return 4 * rows * tokens * width


def main() -> None:
    """Measure each task with few and with many rows, and print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"one of {', '.join(TASKS)}; default: all")
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 20_000], help="of validation, and of test")
    parser.add_argument("--vocabulary", type=int, default=50_000)
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    print(f"{'task':22} {'rows':>7}  peak of a process (MB)  logits of the split (MB)")
    found = []
    for task in options.tasks or TASKS:
        for rows in options.rows:
            peak, kept = measure(task, rows, options.vocabulary), kept_bytes(task, rows, options.vocabulary)
            found.append({"task": task, "rows": rows, "peak_bytes": peak, "logits_bytes": kept})
            print(f"{task:22} {rows:7,} {peak / 1e6:23,.0f} {kept / 1e6:25,.0f}", flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
