"""Small models with random weights, and tokenizers made of the texts they learn: no pretrained ones are in a registry.

byte_pairs(folder, texts, words)   a byte-level BPE tokenizer of so many tokens
continuing(folder, texts)          a GPT-2
translating(folder, texts)         a BART
hearing(folder)                    a HuBERT
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tests.support.tiny_speech import QUIET

SAMPLES = 8_000  # a second
PAD, START, END = 0, 1, 2
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}


def byte_pairs(folder: Path, texts: Iterable[str], words: int, longest: int) -> Any:
    """Save a byte-level BPE tokenizer made of texts, each of which it ends with `</s>`, and return it.

    Args:
        folder: Where it is saved.
        texts: What its tokens are made of.
        words: The size of its vocabulary.
        longest: The most tokens of a text.
    """
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(SPECIAL.values())
    pairs.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=words, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    pairs.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=pairs,
        model_max_length=longest,
        model_input_names=["input_ids", "attention_mask"],
        **SPECIAL,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def continuing(folder: Path, texts: Iterable[str], words: int = 1_000) -> Any:
    """Save a GPT-2 of 2 blocks and 128 dimensions with its tokenizer, and return the tokenizer."""
    longest = 128
    special = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD}
    config = hf.GPT2Config(
        vocab_size=words, n_positions=longest, n_embd=128, n_layer=2, n_head=4, **special, **_no_dropout("pdrop")
    )
    torch.manual_seed(0)
    hf.GPT2LMHeadModel(config).save_pretrained(folder)
    return byte_pairs(folder, texts, words, longest)


def translating(folder: Path, texts: Iterable[str], words: int = 1_000) -> Any:
    """Save a BART of 2 + 2 blocks and 128 dimensions with its tokenizer, and return the tokenizer."""
    longest = 48
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    blocks = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256}
    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END, "decoder_start_token_id": END}
    config = hf.BartConfig(
        vocab_size=words, d_model=128, max_position_embeddings=longest, dropout=0.0, forced_eos_token_id=None,
        forced_bos_token_id=None, **heads, **blocks, **special,
    )  # fmt: skip
    torch.manual_seed(0)
    hf.BartForConditionalGeneration(config).save_pretrained(folder)
    return byte_pairs(folder, texts, words, longest)


def hearing(folder: Path) -> Path:
    """Save a HuBERT of 1 block and 64 dimensions with frames of 20 ms at 8 kHz, and its feature extractor."""
    shape = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128, "num_hidden_layers": 1}
    frames = {"conv_dim": [32, 48, 64], "conv_kernel": [20, 8, 8], "conv_stride": [10, 4, 4]}
    places = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "num_feat_extract_layers": 3}
    norms = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    torch.manual_seed(0)
    hf.HubertModel(hf.HubertConfig(**shape | frames | places | norms | QUIET)).save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor(return_attention_mask=True, sampling_rate=SAMPLES).save_pretrained(folder)
    return folder


def _no_dropout(end: str) -> dict[str, float]:
    return {f"{part}_{end}": 0.0 for part in ("resid", "embd", "attn")}
