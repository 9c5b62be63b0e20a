"""Every architecture that is promised to work, as a tiny pretrained model made on the spot.

ARCHITECTURES[name].task            the task it is tested with
ARCHITECTURES[name].blocks          how many there are in its backbone
ARCHITECTURES[name].build(folder)   write its weights (safetensors, without a head) and its processor
tiny_data(task, folder)             24 examples for a task, as a file
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from tests.tiny import tiny_bpe, tiny_csv, tiny_tokenizer

HIDDEN = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
TEXT = HIDDEN | {"vocab_size": 128, "num_hidden_layers": 3, "max_position_embeddings": 64, "pad_token_id": 0}
BPE = TEXT | {"vocab_size": 320}
ROTARY = BPE | {"num_key_value_heads": 1, "pad_token_id": None, "bos_token_id": 0, "eos_token_id": 0}


@dataclass(frozen=True)
class Architecture:
    """A tiny model: its task, its configuration, and what turns examples into its inputs."""

    task: str
    blocks: int
    config: Callable[[], Any]
    processor: Callable[[Path], object]

    def build(self, folder: Path, seed: int = 0) -> Path:
        """Save the base model, as pretraining would have left it, and its processor. A seed gives the same weights."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            hf.AutoModel.from_config(self.config()).save_pretrained(folder)
        self.processor(folder)
        return folder


def _encoder(config: Callable[[], Any], tokenizer: Callable[[Path], object] = tiny_tokenizer) -> Architecture:
    return Architecture("text-classification", 3, config, tokenizer)


def _decoder(config: Callable[[], Any]) -> Architecture:
    return Architecture("text-classification", 3, config, partial(tiny_bpe, decoder=True))


ARCHITECTURES: dict[str, Architecture] = {
    "bert": _encoder(lambda: hf.BertConfig(**TEXT)),
    "roberta": _encoder(
        lambda: hf.RobertaConfig(**BPE | {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}),
        tiny_bpe,
    ),
    "distilbert": _encoder(
        lambda: hf.DistilBertConfig(
            dim=32, n_heads=2, n_layers=3, hidden_dim=64, vocab_size=128, max_position_embeddings=64
        )
    ),
    "electra": _encoder(lambda: hf.ElectraConfig(**TEXT, embedding_size=16)),
    "deberta": _encoder(lambda: hf.DebertaConfig(**TEXT, relative_attention=True, pos_att_type=["c2p", "p2c"])),
    "deberta-v2": _encoder(
        lambda: hf.DebertaV2Config(**TEXT, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=16)
    ),
    "modernbert": _encoder(
        lambda: hf.ModernBertConfig(**TEXT, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3)
    ),
    "gpt2": _decoder(
        lambda: hf.GPT2Config(
            n_embd=32, n_head=2, n_layer=3, vocab_size=320, n_positions=64, bos_token_id=0, eos_token_id=0
        )
    ),
    "llama": _decoder(lambda: hf.LlamaConfig(**ROTARY)),
    "qwen2": _decoder(lambda: hf.Qwen2Config(**ROTARY)),
    "qwen3": _decoder(lambda: hf.Qwen3Config(**ROTARY, head_dim=16)),
}


def tiny_data(task: str, folder: Path, rows: int = 24) -> Path:
    """Write examples of two classes, in turns, for a task: a csv with its default columns."""
    folder.mkdir(parents=True, exist_ok=True)
    return tiny_csv(folder / "data.csv", rows)
