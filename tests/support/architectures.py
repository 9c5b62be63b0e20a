"""Every architecture that is promised to work, as a tiny pretrained model generated from a seed.

ARCHITECTURES[name].task            the task it is tested with
ARCHITECTURES[name].blocks          the number of blocks in its backbone
ARCHITECTURES[name].build(folder)   write its weights (safetensors, without a head) and its processor
TIMM                                the same for timm's models, whose tests are marked `timm`
tiny_data(task, folder)             24 examples for a task, as a file
"""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import transformers as hf

from tests.support import tiny_answers, tiny_boxes, tiny_masks, tiny_questions, tiny_writing
from tests.support.architecture import BPE, HIDDEN, ROTARY, SPEECH, TEXT, Architecture
from tests.support.tiny import LABELS, tiny_bpe, tiny_csv, tiny_image, tiny_sentences, tiny_sound, tiny_tokenizer
from tests.support.tiny_speech import SPEECH_ARCHITECTURES, tiny_speech


def _encoder(config: Callable[[], Any], tokenizer: Callable[[Path], object] = tiny_tokenizer) -> Architecture:
    return Architecture("text-classification", 3, config, tokenizer)


def _decoder(config: Callable[[], Any]) -> Architecture:
    return Architecture("text-classification", 3, config, partial(tiny_bpe, decoder=True))


def _speech(config: Callable[[], Any], masked: bool) -> Architecture:
    extractor = hf.Wav2Vec2FeatureExtractor(return_attention_mask=masked)
    return Architecture("audio-classification", 3, config, extractor.save_pretrained)


def _spectra(config: Callable[[], Any], extractor: Any) -> Architecture:
    return Architecture("audio-classification", 3, config, extractor.save_pretrained)


def _image(config: Callable[[], Any], blocks: int, processor: Any) -> Architecture:
    return Architecture("image-classification", blocks, config, processor.save_pretrained)


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
    "resnet": _image(
        lambda: hf.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[2, 2], layer_type="bottleneck"),
        4,
        hf.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875, resample=3),
    ),
    "vit": _image(
        lambda: hf.ViTConfig(**HIDDEN, num_hidden_layers=3, image_size=32, patch_size=8),
        3,
        hf.ViTImageProcessor(size={"height": 32, "width": 32}),
    ),
    "swin": _image(
        lambda: hf.SwinConfig(embed_dim=8, depths=[2, 2], num_heads=[1, 2], image_size=32, window_size=4),
        4,
        hf.ViTImageProcessor(size={"height": 32, "width": 32}, resample=3),
    ),
    "convnext": _image(
        lambda: hf.ConvNextConfig(hidden_sizes=[8, 16], depths=[2, 2], num_stages=2),
        4,
        hf.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
    ),
    "mobilenet-v2": _image(
        lambda: hf.MobileNetV2Config(depth_multiplier=0.1, image_size=32, tf_padding=False),
        16,
        hf.MobileNetV2ImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}),
    ),
    "efficientnet": _image(
        lambda: hf.EfficientNetConfig(
            image_size=32, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320, dropout_rate=0.1
        ),
        8,
        hf.EfficientNetImageProcessor(size={"height": 32, "width": 32}),
    ),
    "wav2vec2": _speech(lambda: hf.Wav2Vec2Config(**SPEECH), masked=False),
    "hubert": _speech(
        lambda: hf.HubertConfig(**SPEECH, feat_extract_norm="layer", do_stable_layer_norm=True), masked=True
    ),
    "wavlm": _speech(lambda: hf.WavLMConfig(**SPEECH, num_buckets=32, max_bucket_distance=64), masked=True),
    "whisper": _spectra(
        lambda: hf.WhisperConfig(
            vocab_size=64,
            d_model=32,
            encoder_layers=3,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            num_mel_bins=80,
            max_source_positions=50,
            max_target_positions=16,
            classifier_proj_size=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            suppress_tokens=[],
            begin_suppress_tokens=[],
        ),
        hf.WhisperFeatureExtractor(chunk_length=30),
    ),
    "ast": _spectra(
        lambda: hf.ASTConfig(**HIDDEN, num_hidden_layers=3, num_mel_bins=64, max_length=48),
        hf.ASTFeatureExtractor(num_mel_bins=64, max_length=48),
    ),
}
ARCHITECTURES |= {
    f"{name}-tokens": replace(ARCHITECTURES[name], task="token-classification")
    for name in ("bert", "roberta", "distilbert", "electra", "deberta", "deberta-v2", "modernbert")
}
ARCHITECTURES |= tiny_masks.ARCHITECTURES
ARCHITECTURES |= tiny_boxes.ARCHITECTURES
ARCHITECTURES |= tiny_questions.ARCHITECTURES
ARCHITECTURES |= tiny_answers.architectures(ARCHITECTURES)

ARCHITECTURES |= tiny_writing.ARCHITECTURES

ARCHITECTURES |= SPEECH_ARCHITECTURES


def _timm(architecture: str, blocks: int, **options: Any) -> Architecture:
    """Return a model of timm's: its configuration is also the processor's, and its checkpoints have a head."""
    prepared = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9}

    def config() -> Any:
        return hf.TimmWrapperConfig(
            architecture=architecture, num_labels=10, pretrained_cfg=prepared, model_args=options
        )

    return Architecture("image-classification", blocks, config, lambda _: None, hf.AutoModelForImageClassification)


TIMM: dict[str, Architecture] = {  # make test-timm: torchvision, which timm needs, has no build for every torch
    "timm-vit": _timm("test_vit", 6, img_size=64),
    "timm-resnet": _timm("test_resnet", 4),
    "timm-convnext": _timm("test_convnext", 9),
    "timm-efficientnet": _timm("test_efficientnet", 5),
    "timm-vgg": _timm("vgg11", 8, mlp_ratio=0.01),
    "timm-vgg-bn": _timm("vgg11_bn", 9, mlp_ratio=0.01),
}


USUAL = frozenset(
    (
        "bert",
        "roberta",
        "deberta-v2",
        "modernbert",
        "gpt2",
        "llama",
        "bert-tokens",
        "bert-questions",
        "vit",
        "resnet",
        "swin",
        "wav2vec2",
        "gpt2-writes",
        "bart-writes",
        "wav2vec2-ctc",
    )
)
USUAL |= {"segformer", "whisper", "yolos"}
USUAL |= tiny_answers.FIRST
"""One of each way in which models are built: `make test-all` tries these, and `make test-wide` every other one."""

FEW = frozenset(("bert", "gpt2", "vit", "resnet", "wav2vec2", "bert-tokens", "bert-labels", "bart-writes", "segformer"))
"""Of those, what `make test` tries: blocks of an encoder, a decoder and both, convolutions, and each kind of input."""


LATER = frozenset(
    (
        "bert-numbers",
        "resnet-labels",
        "bert-questions",
        "gpt2-writes",
        "tied-gpt2-writes",
        "bart-writes",
        "t5-writes",
        "wav2vec2-ctc",
        "whisper-speech",
        "segformer",
    )
)
"""Of the tasks beyond one class for each unit, those that tests over models try: the rest are models of other tasks."""


def of_models(timm: bool = True) -> list[Any]:
    """Return the parameters of a test over models, whose tasks do not matter to it: each way of building one once."""
    first = ("text-classification", "token-classification", "image-classification", "audio-classification")
    names = [name for name, found in ARCHITECTURES.items() if found.task in first]
    return [
        *in_turn([*names, *(TIMM if timm else ())]),
        *(pytest.param(name, marks=pytest.mark.full) for name in sorted(LATER)),
    ]


def in_turn(names: Iterable[str]) -> list[Any]:
    """Return the parameters of a test that runs once for each of these architectures, each in its tier."""

    def tier(name: str) -> list[Any]:
        if name in FEW:
            return []
        return [pytest.mark.timm if name in TIMM else pytest.mark.full if name in USUAL | LATER else pytest.mark.wide]

    return [pytest.param(name, marks=tier(name)) for name in names]


def tiny_data(task: str, folder: Path, rows: int = 24) -> Path:
    """Write examples for a task, in turn of two kinds, with the task's default columns, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    return _DATA[task](folder, rows)


def _texts(folder: Path, rows: int) -> Path:
    return tiny_csv(folder / "data.csv", rows)


def _sentences(folder: Path, rows: int) -> Path:
    sentences = tiny_sentences(rows, classes=1)
    lines = [
        json.dumps({"tokens": words, "ner_tags": [tag.replace("I-", "B-") for tag in tags]})
        for words, tags in sentences
    ]
    (folder / "data.jsonl").write_text("\n".join(lines))
    return folder / "data.jsonl"


def _files(kind: str, write: Callable[[Path, int, int], Path], folder: Path, rows: int) -> Path:
    names = [write(folder, i, i % 2).name for i in range(rows)]
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(kind, "label"), *((name, LABELS[i % 2]) for i, name in enumerate(names))])
    return folder / "data.csv"


_DATA: dict[str, Callable[[Path, int], Path]] = {
    "text-classification": _texts,
    "token-classification": _sentences,
    "image-classification": partial(_files, "image", tiny_image),
    "audio-classification": partial(_files, "audio", tiny_sound),
    "question-answering": tiny_questions.write_questions,
}
_DATA |= tiny_masks.DATA
_DATA |= tiny_boxes.DATA
_DATA |= tiny_answers.DATA
_DATA |= tiny_writing.DATA
_DATA |= {"automatic-speech-recognition": tiny_speech}
