"""Cases whose inputs are sounds: synthesised sentences, by a small HuBERT and a small Whisper with random weights."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import jiwer
import numpy
import torch
import transformers

from cases.case import (
    DATA,
    Case,
    Features,
    Official,
    Row,
    accuracy,
    features,
    micro_f1,
    multi_hot,
    names_of,
    pearson,
    saved,
    standard,
    table,
    with_head,
)

RATE = 8_000
WINDOW = 3
"""Seconds that the Whisper hears."""
IGNORED = -100
PARAMS = {"learning_rate": 1e-3, "batch_size": 16, "epochs": 1}
QUIET = dict.fromkeys(
    (
        *("mask_time_prob", "layerdrop", "hidden_dropout", "attention_dropout", "activation_dropout"),
        *("feat_proj_dropout", "final_dropout"),
    ),
    0.0,
)


def hubert(folder: Path) -> Path:
    """Save a HuBERT of 4 blocks with frames of 20 ms at 8 kHz."""
    config = transformers.HubertConfig(
        hidden_size=192, num_attention_heads=4, intermediate_size=768, num_hidden_layers=4,
        conv_dim=[32, 48, 64], conv_kernel=[20, 8, 8], conv_stride=[10, 4, 4], num_feat_extract_layers=3,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, feat_extract_norm="layer",
        do_stable_layer_norm=True, **QUIET,
    )  # fmt: skip
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True, sampling_rate=RATE)
    return saved(folder, lambda: transformers.HubertModel(config), extractor)


def whisper(folder: Path) -> Path:
    """Save a Whisper of 2 + 2 blocks, whose tokens are bytes."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|translate|>", "<|notimestamps|>"]
    vocabulary = {token: i for i, token in enumerate(alphabet)}
    tokenizer = transformers.WhisperTokenizer(vocabulary, [], pad_token=names[0], model_max_length=96)
    tokenizer.add_special_tokens({"additional_special_tokens": names[1:]})
    end, start = len(alphabet), len(alphabet) + 1
    special = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": start}
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), d_model=128, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=512, decoder_ffn_dim=512, num_mel_bins=80,
        max_source_positions=50 * WINDOW, max_target_positions=96, suppress_tokens=[], begin_suppress_tokens=[],
        **special,
    )  # fmt: skip
    extractor = transformers.WhisperFeatureExtractor(chunk_length=WINDOW)
    saved(folder, lambda: transformers.WhisperForConditionalGeneration(config), extractor)
    tokenizer.save_pretrained(folder)
    settings = transformers.GenerationConfig(**special, no_timestamps_token_id=start + 3)
    settings.save_pretrained(folder)
    return folder


def sentences(target: str, column: str, rows: int) -> list[Row]:
    """Return sounds of at most `WINDOW` seconds with the column `target`, read from `column`."""
    import soundfile

    found = table("speech/speech.csv", ("audio", column))
    random.Random(1).shuffle(found)  # noqa: S311 - reproducible, not secret
    paths = ((str(DATA / "speech" / row["audio"]), row[column]) for row in found)
    short = ((path, value) for path, value in paths if soundfile.info(path).duration < WINDOW)
    return [{"audio": path, target: value} for path, value in (next(short) for _ in range(rows))]


def _sounds(folder: Path, rows: list[Row]) -> tuple[Any, list[numpy.ndarray]]:
    """Return the feature extractor, and the features of each sound: samples, or a spectrogram."""
    from luthier.trials.data.sounds import read_audio

    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    rate = extractor.sampling_rate
    sounds = (read_audio(Path(row["audio"]), row["audio"], rate, WINDOW) for row in rows)
    name = extractor.model_input_names[0]
    return extractor, [extractor(sound, sampling_rate=rate)[name][0] for sound in sounds]


def _padded(extractor: Any, batch: Features) -> dict[str, torch.Tensor]:
    sounds = [{"input_values": one["input_values"]} for one in batch]
    return dict(extractor.pad(sounds, padding=True, return_tensors="pt"))


def _classified(kind: str, folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_audio_classification.py with whole sounds, also for numbers and several labels."""
    rows = training + validation
    extractor, sounds = _sounds(folder, rows)
    labels: list[Any]
    if kind == "number":
        numbers = [float(row["label"]) for row in rows]
        labels = standard(numbers[: len(training)], numbers)
        head: dict[str, Any] = {"num_labels": 1, "problem_type": "regression"}
    elif kind == "labels":
        names = names_of(rows, "|")
        labels = multi_hot(rows, names)
        head = {"num_labels": len(names), "problem_type": "multi_label_classification"}
    else:
        names = names_of(rows)
        labels, head = [names.index(row["label"]) for row in rows], {"num_labels": len(names)}
    made = features({"input_values": sounds}, labels)

    class Classifier(transformers.HubertForSequenceClassification):
        """Takes the losses that others take by `problem_type`, which this class of transformers does not know."""

        def forward(self, labels: Any = None, **inputs: Any) -> Any:
            found = super().forward(**inputs)
            if labels is not None and kind == "label":
                found.loss = torch.nn.functional.cross_entropy(found.logits, labels)
            elif labels is not None and kind == "number":
                found.loss = torch.nn.functional.mse_loss(found.logits[:, 0], labels)
            elif labels is not None:
                found.loss = torch.nn.functional.binary_cross_entropy_with_logits(found.logits, labels)
            return found

    return Official(
        make=lambda: Classifier.from_pretrained(folder, **head),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=lambda batch: _padded(extractor, batch) | {"labels": torch.tensor([one["labels"] for one in batch])},
        score={"number": pearson, "labels": micro_f1, "label": accuracy}[kind],
        processor=extractor,
    )


def _spelled(folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_speech_recognition_ctc.py: letters of the training rows, loss and word error rate."""
    rows = training + validation
    extractor, sounds = _sounds(folder, rows)
    letters = ["<pad>", "|", *sorted({letter for row in training for letter in row["text"]} - {" "})]
    number = {letter: i for i, letter in enumerate(letters)}
    ids = [[number[c] for c in row["text"].replace(" ", "|") if c in number] for row in rows]
    made = features({"input_values": sounds}, ids)

    def collate(batch: Features) -> dict[str, torch.Tensor]:
        longest = max(len(one["labels"]) for one in batch)
        labels = [[*one["labels"], *[IGNORED] * (longest - len(one["labels"]))] for one in batch]
        return _padded(extractor, batch) | {"labels": torch.tensor(labels)}

    def score(predicted: Any) -> float:
        said = []
        for best in predicted[0]:
            runs = [int(i) for i, before in zip(best, [0, *best], strict=False) if i != before and i > 0]
            said.append("".join(letters[i] for i in runs).replace("|", " ").strip())
        return float(jiwer.wer([row["text"] for row in validation], said))

    return Official(
        make=with_head("AutoModelForCTC", folder, vocab_size=len(letters), pad_token_id=0, ctc_loss_reduction="mean"),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=collate,
        score=score,
        reduce=lambda logits, labels: logits.argmax(-1),
        processor=extractor,
    )


def _written(folder: Path, training: list[Row], validation: list[Row]) -> Official:
    """Return run_speech_recognition_seq2seq.py with `predict_with_generate`."""
    _, sounds = _sounds(folder, training + validation)
    tokenizer = transformers.WhisperTokenizer.from_pretrained(folder)
    start = [tokenizer.convert_tokens_to_ids("<|notimestamps|>")]
    texts = [f" {row['text']}" for row in training + validation]
    ids = [[*start, *one, tokenizer.eos_token_id] for one in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    made = features({"input_features": sounds}, ids)

    def collate(batch: Features) -> dict[str, torch.Tensor]:
        longest = max(len(one["labels"]) for one in batch)
        labels = [[*one["labels"], *[IGNORED] * (longest - len(one["labels"]))] for one in batch]
        heard = torch.from_numpy(numpy.stack([one["input_features"] for one in batch]))
        return {"input_features": heard, "labels": torch.tensor(labels)}

    def score(predicted: Any) -> float:
        ids = numpy.where(predicted[0] < 0, tokenizer.pad_token_id, predicted[0])
        said = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
        return float(jiwer.wer([row["text"] for row in validation], said))

    return Official(
        make=with_head("AutoModelForSpeechSeq2Seq", folder),
        training=made[: len(training)],
        validation=made[len(training) :],
        collate=collate,
        score=score,
        writes=MOST_TOKENS,
    )


MOST_TOKENS = 48
SPEECH = "automatic-speech-recognition"
CASES = {
    "audio-classification": Case(
        "audio-classification", "accuracy", partial(sentences, "label", "voice"), hubert,
        partial(_classified, "label"), ("speech",), PARAMS | {"max_length": 1000 * WINDOW}, 64, 32,
    ),
    "audio-regression": Case(
        "audio-regression", "pearson", partial(sentences, "label", "rate"), hubert,
        partial(_classified, "number"), ("speech",), PARAMS | {"max_length": 1000 * WINDOW}, 64, 32,
    ),
    "audio-multilabel": Case(
        "audio-multilabel-classification", "micro_f1", partial(sentences, "label", "traits"), hubert,
        partial(_classified, "labels"), ("speech",), PARAMS | {"max_length": 1000 * WINDOW}, 64, 32,
        further={"label_separator": "|"},
    ),
    "speech-ctc": Case(
        SPEECH, "wer", partial(sentences, "text", "text"), hubert, _spelled, ("speech",), PARAMS, 64, 32
    ),
    "speech-whisper": Case(
        SPEECH, "wer", partial(sentences, "text", "text"), whisper, _written, ("speech",), PARAMS, 48, 24,
        writes={"max_new_tokens": MOST_TOKENS},
    ),
}  # fmt: skip
