"""A tiny pretrained model of an architecture, and the sizes that tiny models have."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf

HIDDEN = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
TEXT = HIDDEN | {"vocab_size": 128, "num_hidden_layers": 3, "max_position_embeddings": 64, "pad_token_id": 0}
BPE = TEXT | {"vocab_size": 320}
SPEECH = HIDDEN | {
    "num_hidden_layers": 3,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 8, 4],
    "conv_stride": [5, 8, 4],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
}
ROTARY = BPE | {"num_key_value_heads": 1, "pad_token_id": None, "bos_token_id": 0, "eos_token_id": 0}


@dataclass(frozen=True)
class Architecture:
    """A tiny model.

    Attributes:
        task: The task it is tested with.
        blocks: The number of blocks in its backbone.
        config: Makes its configuration.
        processor: Writes its tokenizer or preprocessor into a folder.
        auto: The transformers class of the saved model.
    """

    task: str
    blocks: int
    config: Callable[[], Any]
    processor: Callable[[Path], object]
    auto: Any = hf.AutoModel

    def build(self, folder: Path, seed: int = 0) -> Path:
        """Save a pretrained base model with random weights, and its processor, and return the folder.

        The same seed gives the same weights.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.auto.from_config(self.config()).save_pretrained(folder)
        self.processor(folder)
        return folder
