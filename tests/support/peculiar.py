"""Models whose answers depend on padding or on the rest of a batch, tiny and generated from a seed.

PECULIAR[name].architecture     the model
PECULIAR[name].batching         how its inputs must be put into batches
USUAL                           further models that may be padded on the right
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import transformers as hf

from luthier.studies.results import Batching
from tests.support.architectures import ARCHITECTURES, BPE, HIDDEN, SPEECH, TEXT, Architecture, tiny_data
from tests.support.tiny import tiny_bpe, tiny_rows, tiny_tokenizer

Config = Callable[[], Any]
XLNET = partial(hf.XLNetConfig, vocab_size=320, d_model=32, n_layer=3, n_head=2, d_inner=64, pad_token_id=0)
FNET = partial(hf.FNetConfig, vocab_size=128, hidden_size=32, num_hidden_layers=3, intermediate_size=64)
CONVBERT = partial(hf.ConvBertConfig, **TEXT, embedding_size=32, conv_kernel_size=9, initializer_range=0.2)
XLM = partial(hf.XLMConfig, vocab_size=320, emb_dim=32, n_layers=3, n_heads=2, pad_index=1, summary_type="last")
FUNNEL = partial(hf.FunnelConfig, vocab_size=128, block_sizes=[1, 1, 1], architectures=["FunnelBaseModel"])
CTRL = partial(hf.CTRLConfig, vocab_size=320, n_positions=64, n_embd=32, dff=64, n_layer=3, n_head=2)
GPT = {"vocab_size": 320, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 2}
LONGFORMER = BPE | {"max_position_embeddings": 80, "pad_token_id": 1}
BART = partial(
    hf.BartConfig,
    vocab_size=320,
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=64,
    decoder_ffn_dim=64,
    max_position_embeddings=64,
    pad_token_id=1,
    bos_token_id=0,
    eos_token_id=2,
    decoder_start_token_id=2,
)
WAV2VEC2 = partial(hf.Wav2Vec2Config, **SPEECH)
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


@dataclass(frozen=True)
class Peculiar:
    """A model and how its inputs are put into batches.

    Attributes:
        architecture: The model.
        batching: The only way, or the fastest, that gives each example the answer that it gets alone.
        ends: Every third text holds the end token twice.
    """

    architecture: Architecture
    batching: Batching
    ends: bool = False

    def data(self, folder: Path, rows: int = 96) -> Path:
        """Write examples of two classes, and return the file."""
        if not self.ends:
            return tiny_data(self.architecture.task, folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "data.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = [(text + " </s>" * (i % 3 == 0), label) for i, (text, label) in enumerate(tiny_rows(rows))]
            csv.writer(file).writerows([("text", "label"), *lines])
        return path


def _text(config: Config, tokenizer: Callable[[Path], object] = tiny_tokenizer) -> Architecture:
    return Architecture("text-classification", 3, config, tokenizer)


def _speech(config: Config, masked: bool) -> Architecture:
    extractor = hf.Wav2Vec2FeatureExtractor(return_attention_mask=masked)
    return Architecture("audio-classification", 3, config, extractor.save_pretrained)


def _no_mask(folder: Path) -> None:
    """Save a tokenizer that makes token ids and nothing else."""
    tiny_bpe(folder)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.model_input_names = ["input_ids"]
    tokenizer.save_pretrained(folder)


decoder = partial(tiny_bpe, decoder=True)

PECULIAR: dict[str, Peculiar] = {
    "reads its last place": Peculiar(_text(XLNET, tiny_bpe), Batching.LEFT),
    "pads with its end": Peculiar(_text(XLNET, decoder), Batching.LEFT),
    "has no mask": Peculiar(_text(FNET), Batching.EQUAL),
    "gets no mask": Peculiar(_text(partial(hf.BertConfig, **BPE | {"pad_token_id": 1}), _no_mask), Batching.EQUAL),
    "convolves over padding": Peculiar(_text(CONVBERT), Batching.EQUAL),
    "pools over places": Peculiar(_text(partial(FUNNEL, d_model=32, n_head=2, d_head=16, d_inner=64)), Batching.EQUAL),
    "wants lengths": Peculiar(_text(XLM, tiny_bpe), Batching.EQUAL),
    "wants as many ends": Peculiar(_text(BART, tiny_bpe), Batching.SINGLE, ends=True),
    "normalises over time": Peculiar(ARCHITECTURES["wav2vec2"], Batching.EQUAL),
    "normalises over time, with a mask": Peculiar(_speech(WAV2VEC2, True), Batching.EQUAL),
    "hears padding": Peculiar(_speech(partial(WAV2VEC2, **LAYER_NORM), False), Batching.EQUAL),
}
USUAL: dict[str, Peculiar] = {
    "ctrl": Peculiar(_text(CTRL, decoder), Batching.RIGHT),
    "openai-gpt": Peculiar(_text(partial(hf.OpenAIGPTConfig, **GPT), decoder), Batching.RIGHT),
    "gpt-j": Peculiar(_text(partial(hf.GPTJConfig, **GPT, rotary_dim=8), decoder), Batching.RIGHT),
    "longformer": Peculiar(
        _text(partial(hf.LongformerConfig, **LONGFORMER, attention_window=8), tiny_bpe), Batching.RIGHT
    ),
    "bart": Peculiar(_text(BART, tiny_bpe), Batching.RIGHT),
    "layer norm and a mask": Peculiar(_speech(partial(WAV2VEC2, **LAYER_NORM), True), Batching.RIGHT),
}


def reformer() -> Architecture:
    """Return a model that draws its hashes at random in every forward."""
    config = {
        "vocab_size": 320,
        "attn_layers": ["local", "lsh"],
        "attention_head_size": 16,
        "feed_forward_size": 64,
        "axial_pos_shape": (8, 8),
        "axial_pos_embds_dim": (16, 16),
        "max_position_embeddings": 64,
        "num_buckets": 2,
        "lsh_attn_chunk_length": 8,
        "local_attn_chunk_length": 8,
    }
    hidden = {key: value for key, value in HIDDEN.items() if key != "intermediate_size"}
    return _text(partial(hf.ReformerConfig, **hidden, **config), decoder)


def nystromformer() -> Architecture:
    """Return a model that takes inputs of a few lengths only."""
    return _text(partial(hf.NystromformerConfig, **TEXT, segment_means_seq_len=64, num_landmarks=4))
