"""Tiny models that write texts, and their data: a word of each text tells what is to be written.

ARCHITECTURES       models of the tasks that write, with random weights, an output layer included
prompts, sources    24 or more rows as jsonl
CHAT                a template of turns, as models that were trained for chat have
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import transformers as hf
from tokenizers.decoders import ByteLevel

from tests.support.architecture import BPE, ROTARY, TEXT, Architecture
from tests.support.tiny import tiny_bpe, tiny_rows, tiny_tokenizer

CHAT = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
UNTIED = {"tie_word_embeddings": False}
GPT2 = {
    "n_embd": 32,
    "n_head": 2,
    "n_layer": 3,
    "vocab_size": 320,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def _bpe(folder: Path, decoder: bool = True) -> None:
    """Save the tokenizer of `tiny_bpe` such that it gives texts back as they were."""
    tiny_bpe(folder, decoder)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.decoder = ByteLevel()
    tokenizer.save_pretrained(folder)


def _decoder(config: Any) -> Architecture:
    return Architecture("text-generation", 3, config, _bpe, hf.AutoModelForCausalLM)


ARCHITECTURES = {
    "gpt2-writes": _decoder(lambda: hf.GPT2Config(**GPT2 | UNTIED)),
    "llama-writes": _decoder(lambda: hf.LlamaConfig(**ROTARY | UNTIED)),
    "qwen2-writes": _decoder(lambda: hf.Qwen2Config(**ROTARY | UNTIED)),
    "qwen3-writes": _decoder(lambda: hf.Qwen3Config(**ROTARY | UNTIED, head_dim=16)),
    "opt-writes": _decoder(
        lambda: hf.OPTConfig(
            **BPE | UNTIED | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 0, "word_embed_proj_dim": 32},
            ffn_dim=64,
        )
    ),
    "bert-writes": Architecture(
        "text-generation",
        3,
        lambda: hf.BertConfig(**TEXT | UNTIED, is_decoder=True),
        tiny_tokenizer,
        hf.AutoModelForCausalLM,
    ),
}

SPECIALS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
STACKS = UNTIED | {
    "vocab_size": 320,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
}


def _both(blocks: int, config: Any) -> Architecture:
    return Architecture("text2text-generation", blocks, config, partial(_bpe, decoder=False), hf.AutoModelForSeq2SeqLM)


ARCHITECTURES |= {
    "bart-writes": _both(4, lambda: hf.BartConfig(**STACKS | SPECIALS, forced_bos_token_id=0)),
    "marian-writes": _both(4, lambda: hf.MarianConfig(**STACKS | SPECIALS | {"decoder_start_token_id": 1})),
    "mbart-writes": _both(4, lambda: hf.MBartConfig(**STACKS | SPECIALS)),
    "pegasus-writes": _both(4, lambda: hf.PegasusConfig(**STACKS | SPECIALS | {"decoder_start_token_id": 1})),
}
T5 = _both(
    3,  # of four: transformers ties its head to the token table, so the topmost block always trains
    lambda: hf.T5Config(
        vocab_size=320,
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=2,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    ),
)
"""A T5, whose encoder and decoder are blocks of one backbone."""
ARCHITECTURES |= {
    "t5-writes": T5,
    "tied-gpt2-writes": replace(
        ARCHITECTURES["gpt2-writes"], blocks=2, config=lambda: hf.GPT2Config(**GPT2, tie_word_embeddings=True)
    ),
}


def prompts(folder: Path, rows: int = 24) -> Path:
    """Write rows of prompt and completion, and return the file."""
    pairs = [{"prompt": text, "completion": f"{label} it is"} for text, label in tiny_rows(rows)]
    return write(folder / "data.jsonl", pairs)


def chats(folder: Path, rows: int = 24) -> Path:
    """Write rows of messages, and return the file."""
    conversations = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]}
        for text, label in tiny_rows(rows)
    ]
    return write(folder / "chats.jsonl", conversations)


def texts(folder: Path, rows: int = 24) -> Path:
    """Write rows of texts, and return the file."""
    return write(folder / "texts.jsonl", [{"text": f"{text}: {label}"} for text, label in tiny_rows(rows)])


def sources(folder: Path, rows: int = 24) -> Path:
    """Write rows of source and target, and return the file."""
    pairs = [{"source": text, "target": f"{label} it is"} for text, label in tiny_rows(rows)]
    return write(folder / "sources.jsonl", pairs)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as jsonl, and return the path."""
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


DATA = {"text-generation": prompts, "text2text-generation": sources}
