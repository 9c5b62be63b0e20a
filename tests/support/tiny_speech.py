"""Tiny models and data for speech recognition: each letter of a text is a tone of its own.

SPEECH_ARCHITECTURES      models with CTC, and a Whisper
tiny_speech(folder, rows) recordings of one or two words and their transcripts
spoken(text)              the sound of a text
"""

import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import transformers as hf

from tests.support.architecture import SPEECH, Architecture

LETTERS = "abdeno"
WORDS = ("bad", "bed", "dead", "done", "no", "one", "and", "node", "bean", "anna", "odd", "ebb")
RATE = 16_000
LETTER_SECONDS, GAP_SECONDS = 0.04, 0.02
EASY_WORDS = ("ab", "ba", "an", "na", "ban", "nab", "aba")
"""Of three letters: a model with random weights learns them in about a hundred steps."""


def spoken(text: str, seed: int = 0) -> Any:
    """Return the sound of a text, (samples,) float32: a tone for each letter, near silence for a blank."""
    import numpy

    draw = numpy.random.default_rng(seed)
    parts = [numpy.zeros(int(RATE * GAP_SECONDS))]
    for letter in text:
        seconds = LETTER_SECONDS * draw.uniform(0.8, 1.2)
        time = numpy.arange(int(RATE * seconds)) / RATE
        pitch = 300 * 1.5 ** LETTERS.index(letter) if letter in LETTERS else 0
        parts += [0.4 * numpy.sin(2 * numpy.pi * pitch * time), numpy.zeros(int(RATE * GAP_SECONDS))]
    sound = numpy.concatenate(parts)
    return (sound + 0.01 * draw.normal(size=len(sound))).astype(numpy.float32)


def tiny_texts(rows: int, words: Sequence[str] = WORDS) -> list[str]:
    """Return texts of one or two words."""
    draw = random.Random(0)
    return [" ".join(draw.sample(words, draw.randint(1, 2))) for _ in range(rows)]


def tiny_speech(folder: Path, rows: int = 24, words: Sequence[str] = WORDS) -> Path:
    """Write recordings and a table with the columns audio and text, and return it."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    texts = tiny_texts(rows, words)
    for i, text in enumerate(texts):
        soundfile.write(folder / f"{i}.wav", spoken(text, seed=i), RATE)
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("audio", "text"), *((f"{i}.wav", text) for i, text in enumerate(texts))])
    return folder / "data.csv"


def tiny_whisper_tokenizer(folder: Path) -> None:
    """Save a Whisper's tokenizer of bytes, with its special tokens."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|translate|>", "<|notimestamps|>"]
    vocabulary = {token: i for i, token in enumerate(alphabet)}
    tokenizer = hf.WhisperTokenizer(vocab=vocabulary, merges=[], pad_token="<|endoftext|>", model_max_length=32)
    tokenizer.add_special_tokens({"additional_special_tokens": names[1:]})
    tokenizer.save_pretrained(folder)


def _ctc(config: Callable[[], Any], masked: bool) -> Architecture:
    extractor = hf.Wav2Vec2FeatureExtractor(return_attention_mask=masked)
    return Architecture("automatic-speech-recognition", 3, config, extractor.save_pretrained)


def _whisper_processor(folder: Path) -> None:
    hf.WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)
    tiny_whisper_tokenizer(folder)
    hf.GenerationConfig(
        decoder_start_token_id=257, eos_token_id=256, pad_token_id=256, bos_token_id=256, no_timestamps_token_id=260
    ).save_pretrained(folder)


QUIET = dict.fromkeys(
    (
        *("mask_time_prob", "layerdrop", "hidden_dropout", "attention_dropout", "activation_dropout"),
        *("feat_proj_dropout", "final_dropout"),
    ),
    0.0,
)
"""Nothing is drawn at random in training."""


def learner(folder: Path) -> Path:
    """Save a model with CTC that learns `EASY_WORDS` in seconds, and its feature extractor, and return the folder."""
    shape = {"num_hidden_layers": 1, "conv_kernel": [20, 10, 4], "conv_stride": [10, 8, 4]}  # frames of 20 ms
    norms = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    return _ctc(lambda: hf.HubertConfig(**SPEECH | shape | norms | QUIET), masked=True).build(folder)


SPEECH_ARCHITECTURES: dict[str, Architecture] = {
    "wav2vec2-ctc": _ctc(lambda: hf.Wav2Vec2Config(**SPEECH), masked=False),
    "hubert-ctc": _ctc(
        lambda: hf.HubertConfig(**SPEECH, feat_extract_norm="layer", do_stable_layer_norm=True), masked=True
    ),
    "wavlm-ctc": _ctc(lambda: hf.WavLMConfig(**SPEECH, num_buckets=32, max_bucket_distance=64), masked=True),
    "whisper-speech": Architecture(
        "automatic-speech-recognition",
        4,
        lambda: hf.WhisperConfig(
            vocab_size=261,
            d_model=32,
            encoder_layers=3,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            num_mel_bins=80,
            max_source_positions=100,
            max_target_positions=32,
            pad_token_id=256,
            bos_token_id=256,
            eos_token_id=256,
            decoder_start_token_id=257,
            suppress_tokens=[],
            begin_suppress_tokens=[],
        ),
        _whisper_processor,
        hf.AutoModelForSpeechSeq2Seq,
    ),
}
