"""Speech recognition by models of Whisper's kind, which hear a window of sound and write tokens.

`automatic_speech_recognition` calls it for models of AutoModelForSpeechSeq2Seq. The decoder starts with the tokens with
which `generate` starts it too: language and task come from the checkpoint's own files, and are never learned.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn import functional
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from luthier.studies.strategy import Generation
from luthier.trials.errors import BadData
from luthier.trials.model import pretrained as models
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.model.tokens import load_tokenizer
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.feature_extractors import check_features, extractor_of, window_samples
from luthier.trials.tasks.scoring import NO_TOKEN, Batch, Tensors

LABELS, IGNORED = "labels", -100
"""Targets of a batch: (rows, longest) the token that follows each one, and what stands where none is learned."""
LIKELIHOOD, SIZE = "nll", "size"
"""Answers: (rows,) the negative log likelihood of a transcript's tokens, and the number of them."""
SHOWN = 5  # rows in a message
ONE_LANGUAGE = (
    "{name} is not told what language it writes, as a Whisper of several languages is: it writes what it learns. "
    "Leave dataset.language out."
)


def load(task: str, folder: Path, name: str, extractor: Any, language: str | None) -> Pretrained:
    """Load a model with the head that it has, and its processor, and settle how its decoder starts.

    Args:
        task: The task's name.
        folder: The model's.
        name: The model as the user wrote it.
        extractor: Its feature extractor.
        language: What it is to write; None: as its files say.

    Raises:
        BadData: The model cannot be loaded, is of another kind, or does not know which language it is to write.
    """
    join: Any = transformers.WhisperProcessor
    processor = join(feature_extractor=extractor, tokenizer=load_tokenizer(folder, name))
    pretrained = models.load(task, folder, name, Head(), processor)
    window = window_samples(pretrained)
    if window is None or window % int(extractor.sampling_rate):
        kind = pretrained.model.config.model_type
        text = f"{name} is a model of the type {kind} that does not hear a window of whole seconds, as Whisper does. "
        raise BadData(f"{text}Choose a Whisper, or a model with CTC such as wav2vec2.", "model")
    _settle(pretrained, name, language)
    check_features(pretrained, name, decoder_input_ids=torch.tensor([prefix(pretrained.model)]))
    return pretrained


def _settle(pretrained: Pretrained, name: str, chosen: str | None) -> None:
    """Write into the model's generation configuration that it transcribes in its language, without timestamps.

    Raises:
        BadData: It knows several languages, and none is chosen, or one that it does not know; or only one.
    """
    settings: Any = pretrained.model.generation_config
    settings.return_timestamps = False
    languages = getattr(settings, "lang_to_id", None)
    if chosen is not None and not languages:
        raise BadData(ONE_LANGUAGE.format(name=name), "dataset", "language")
    if languages:
        language = (
            chosen or getattr(settings, "language", None) or getattr(pretrained.processor.tokenizer, "language", None)
        )
        code = TO_LANGUAGE_CODE.get(str(language).lower(), str(language).lower().strip("<|>"))
        if f"<|{code}|>" not in languages and chosen is not None:
            known = ", ".join(sorted(token.strip("<|>") for token in languages))
            text = f"{name} knows no language {chosen!r}; its languages are {known}."
            raise BadData(text, "dataset", "language")
        if f"<|{code}|>" not in languages:
            raise BadData(
                f"{name} writes {len(languages)} languages, and its files do not say which one. Name that of the "
                "transcripts in the spec, as dataset: {language: german}.",
                "model",
            )
        settings.language, settings.task = f"<|{code}|>", "transcribe"
    settings.forced_decoder_ids = None
    pretrained.model.config.forced_decoder_ids = None


def prefix(model: Any) -> list[int]:
    """Return the tokens with which a model's decoder starts, as its `generate` puts them together."""
    settings = model.generation_config
    tokens = [int(settings.decoder_start_token_id)]
    if getattr(settings, "lang_to_id", None):
        tokens += [settings.lang_to_id[settings.language], settings.task_to_id[settings.task]]
    silent = getattr(settings, "no_timestamps_token_id", None)
    return tokens if silent is None else [*tokens, int(silent)]


def encode_transcripts(pretrained: Pretrained, texts: Sequence[str], names: Sequence[str]) -> list[list[int]]:
    """Return the tokens of transcripts, the end of the text last.

    Args:
        pretrained: The model and its processor.
        texts: The transcripts.
        names: Of the sounds, for messages.

    Raises:
        BadData: A transcript has more tokens than the model writes.
    """
    tokenizer = pretrained.processor.tokenizer
    spaced = [f" {text}" for text in texts]  # as the texts begin that it was trained with
    tokens = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(spaced, add_special_tokens=False)["input_ids"]]
    most = room(pretrained)
    wrong = [f"{name} ({len(ids):,})" for ids, name in zip(tokens, names, strict=True) if len(ids) > most]
    if wrong:
        shown = ", ".join(wrong[:SHOWN]) + (f" and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else "")
        text = f"{len(wrong):,} of {len(texts):,} transcripts have more than the {most:,} tokens that the model "
        cure = "Divide these recordings and their transcripts, or remove their rows."
        raise BadData(f"{text}writes of a sound: {shown}. {cure}", "dataset", "source")
    return tokens


def room(pretrained: Pretrained) -> int:
    """Return the most tokens that the model can write, the end of the text included."""
    return int(pretrained.model.config.max_target_positions) - len(prefix(pretrained.model)) + 1


def window_milliseconds(pretrained: Pretrained) -> int:
    """Return the length of the window that the model hears."""
    return (window_samples(pretrained) or 0) * 1000 // int(extractor_of(pretrained).sampling_rate)


def decoder_inputs(tokens: Sequence[Sequence[int]], start: Sequence[int]) -> torch.Tensor:
    """Return the decoder's inputs for transcripts, (rows, `len(start)` - 1 + longest), padded with their own ends."""
    width = max(map(len, tokens))
    return torch.tensor([[*start, *ids[:-1], *[ids[-1]] * (width - len(ids))] for ids in tokens])


def collate(tokens: Sequence[Sequence[int]], start: Sequence[int]) -> Batch:
    """Return the targets of some rows: the token that follows each of the decoder's inputs."""
    width = max(map(len, tokens))
    ignored = [IGNORED] * (len(start) - 1)
    return {LABELS: torch.tensor([[*ignored, *ids, *[IGNORED] * (width - len(ids))] for ids in tokens])}


class TokenLoss(Loss):
    """The cross-entropy of the transcripts' tokens."""

    def weight(self, targets: Tensors) -> float:
        """Return the number of tokens."""
        return int((targets[LABELS] != IGNORED).sum())

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the sum over the tokens, ()."""
        return _losses(outputs, targets).sum()


def _losses(outputs: Tensors, targets: Tensors) -> torch.Tensor:
    """Return the cross-entropy of each token, (rows, tokens); 0 where none is learned."""
    logits = outputs["logits"].float().transpose(1, 2)  # (rows, vocabulary, tokens)
    labels = targets[LABELS].to(logits.device, non_blocking=True)
    return functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")


def counted(outputs: Tensors, targets: Tensors) -> torch.Tensor:
    """Return the logits of the tokens that are learned, (tokens of all rows, vocabulary)."""
    logits = outputs["logits"]
    return logits[(targets[LABELS] != IGNORED).to(logits.device)]


def answers(outputs: Tensors, targets: Tensors) -> Batch:
    """Return the loss of each transcript, and its number of tokens."""
    return {LIKELIHOOD: _losses(outputs, targets).sum(1), SIZE: (targets[LABELS] != IGNORED).sum(1)}


def generate(model: Any, features: torch.Tensor, generation: Generation) -> torch.Tensor:
    """Return the tokens that the model writes, (rows, tokens), `NO_TOKEN` behind the last of a row.

    Args:
        model: In evaluation mode, on its device.
        features: (rows, ...) of the sounds.
        generation: How to write.
    """
    settings = model.generation_config
    written: torch.Tensor = model.generate(
        input_features=features.to(model.device),
        max_new_tokens=most_tokens(model, generation),
        num_beams=generation.num_beams,
        do_sample=False,
    )
    ended = (written == settings.eos_token_id).cumsum(1) > 0
    return written.masked_fill(ended, NO_TOKEN)


def keep_generation(model: Any, generation: Generation) -> None:
    """Write into a model's generation configuration how it writes, so that it does so for its users."""
    settings = model.generation_config
    settings.max_new_tokens = most_tokens(model, generation)
    settings.num_beams, settings.do_sample = generation.num_beams, False


def most_tokens(model: Any, generation: Generation) -> int:
    """Return the most tokens that a model writes."""
    return min(generation.max_new_tokens, int(model.config.max_target_positions) - len(prefix(model)))


def written_text(tokenizer: Any, ids: torch.Tensor) -> str:
    """Return the text that a row's tokens are, without blanks around it."""
    text: str = tokenizer.decode(ids[ids >= 0].tolist(), skip_special_tokens=True)
    return text.strip()
