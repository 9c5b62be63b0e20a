"""Speech recognition: the words of a recording, by models with CTC or of Whisper's kind.

What differs between the two is in `ctc` and `whisper`; a batch's targets say which of them it is of. No sound is ever
cut: its transcript would not fit what is left of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from luthier.studies.hyperparameters import Params
from luthier.studies.strategy import Generation
from luthier.studies.tasks import TASKS
from luthier.trials.data.encoded import Encoded, Values, take
from luthier.trials.data.input_lengths import InputLengths
from luthier.trials.data.media import named
from luthier.trials.data.sounds import sound_milliseconds
from luthier.trials.data.splits import Split
from luthier.trials.data.transcripts import Transcripts
from luthier.trials.errors import BadData
from luthier.trials.model.folder import configuration
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks import ctc, whisper
from luthier.trials.tasks.audio_inputs import AudioInputs
from luthier.trials.tasks.audio_usage import read_sound, transcribed
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.feature_extractors import (
    check_features,
    least_samples,
    load_extractor,
    longest_sound,
    saved_extractor,
)
from luthier.trials.tasks.scoring import GENERATED, NOT_GENERATED, Batch, Tensors
from luthier.trials.tasks.transcribing import LOSS, SIZE, EncodedSpeech, Transcribing, shown_letters
from luthier.trials.tasks.usage import Usage, call, source

ALL_MILLISECONDS = 10**9
"""Longer than any sound."""
DECODER = "decoder_input_ids"
"""The further input of a model that writes tokens, padded to a length of its own."""
SHOWN = 5  # sounds in a message
MOST_LETTERS = 20_000
"""Of an answer that is predicted: more than a model writes of any sound that it hears at once."""
CERTAIN = 1e-3
"""By how much each frame's letter must lead for the packed model's text to be compared: another machine rounds."""


class AutomaticSpeechRecognition(AudioInputs[Transcripts], Transcribing):
    """A recogniser of speech. A row is an example is a unit."""

    name = "automatic-speech-recognition"

    def load(self, folder: Path, name: str, targets: Transcripts) -> Pretrained:
        """Load feature extractor, tokenizer and model, and try them on a second of silence. Raises BadData."""
        extractor = load_extractor(folder, name)
        if configuration(folder, name).is_encoder_decoder:
            return whisper.load(self.name, folder, name, extractor, targets.language)
        if targets.language is not None:
            raise BadData(whisper.ONE_LANGUAGE.format(name=name), "dataset", "language")
        pretrained = ctc.load(self.name, folder, name, targets, extractor)
        check_features(pretrained, name)
        return pretrained

    def head(self, targets: Transcripts) -> Head:
        """Return the head that the checkpoint has; `load` knows whether there is to be another one."""
        return Head()

    def encode_targets(self, rows: Sequence[Any]) -> dict[str, Values]:
        """Return the transcripts as `text`."""
        return {"text": list(rows)}

    def encode(self, pretrained: Pretrained, split: Split, max_length: int) -> EncodedSpeech:
        """Return the features of whole sounds, and the transcripts as the model writes them.

        Raises:
            BadData: A sound cannot be read or is longer than the model hears, or a transcript does not fit its sound.
        """
        self._check_lengths(pretrained, split)
        return self._with_transcripts(pretrained, split, super().encode(pretrained, split, max_length))

    def encode_exactly(self, pretrained: Pretrained, split: Split, max_length: int) -> EncodedSpeech:
        """Return the same with features as 32-bit floats, none of them padded. Raises BadData."""
        self._check_lengths(pretrained, split)
        return self._with_transcripts(pretrained, split, super().encode_exactly(pretrained, split, max_length))

    def encode_unlabelled(self, pretrained: Pretrained, split: Split, max_length: int) -> EncodedSpeech:
        """Return the same, of whose answers all letters are kept. Raises BadData."""
        return replace(self.encode_exactly(pretrained, split, max_length), shown=MOST_LETTERS)

    def _check_lengths(self, pretrained: Pretrained, split: Split) -> None:
        """Raise BadData where sounds are longer than the model's window."""
        if (limit := longest_sound(pretrained)) is None:
            return
        found = zip(split.columns["audio"], _names(split), strict=True)
        lengths = [(sound_milliseconds(item, name), name) for item, name in found]
        wrong = [f"{name} ({length / 1000:.1f} s)" for length, name in lengths if length > limit]
        if wrong:
            shown = ", ".join(wrong[:SHOWN]) + (f" and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else "")
            text = f"{len(wrong):,} of {len(lengths):,} sounds are longer than the {limit / 1000:g} s that the model "
            cure = "Divide them and their transcripts, remove their rows, or choose a model with CTC such as wav2vec2."
            raise BadData(f"{text}hears: {shown}. {cure}", "dataset", "source")

    def _with_transcripts(self, pretrained: Pretrained, split: Split, encoded: Encoded) -> EncodedSpeech:
        """Return a split with what the model's loss needs. Raises BadData."""
        texts, names = split.targets, _names(split)
        targets = dict(encoded.targets)
        further: dict[str, list[int]] = {}
        if _writes_tokens(pretrained.model):
            tokens = whisper.encode_transcripts(pretrained, texts, names)
            start = whisper.prefix(pretrained.model)
            targets |= {"tokens": tokens, "start": [start] * len(tokens)}
            width = max(map(len, tokens))
            further = {DECODER: [len(start) - 1 + len(ids) for ids in tokens]}
        else:
            (sounds,) = encoded.columns.values()
            frames = ctc.frame_counts(pretrained, [len(sound) for sound in sounds])
            letters = ctc.encode_transcripts(pretrained, texts)
            ctc.check_room(letters, frames.tolist(), names)
            blank = int(pretrained.model.config.pad_token_id)
            targets |= {"letters": letters, "frames": frames, "blank": [blank] * len(letters)}
            width = int(frames.max())
        own = {name: getattr(encoded, name) for name in Encoded.__dataclass_fields__}
        own |= {"targets": targets, "further_lengths": further}
        tokenizer = pretrained.processor.tokenizer
        return EncodedSpeech(**own, tokenizer=tokenizer, width=width, shown=shown_letters(texts))

    def input_lengths(self, pretrained: Pretrained, split: Split, poll: Callable[[], None]) -> InputLengths | None:
        """Return None: nothing is cut."""
        return None

    def collate(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the features, and the decoder's inputs of a model that has one: (rows, tokens)."""
        batch = super().collate(encoded, rows)
        if "tokens" not in encoded.targets:
            return batch
        assert isinstance(encoded, EncodedSpeech)
        tokens, (start, *_) = encoded.of("tokens", rows), encoded.of("start", rows)
        return {**batch, DECODER: whisper.decoder_inputs(tokens, start)}

    def collate_targets(self, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the transcripts of some rows: see `whisper.LABELS`, or `ctc.LETTERS` and what follows there."""
        assert isinstance(encoded, EncodedSpeech)
        if "tokens" in encoded.targets:
            return whisper.collate(encoded.of("tokens", rows), encoded.of("start", rows[:1])[0])
        frames = torch.as_tensor(take(encoded.targets["frames"], rows))
        return ctc.collate(encoded.of("letters", rows), frames, encoded.width, encoded.of("blank", rows[:1])[0])

    def counted(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the logits of the frames, or of the tokens, of all rows: (frames, vocabulary)."""
        return ctc.counted(outputs, targets) if ctc.FRAMES in targets else whisper.counted(outputs, targets)

    def loss(self, pretrained: Pretrained, targets: Transcripts, training: Encoded, params: Params) -> Loss:
        """Return the loss of CTC, or of tokens, by what is written in the transcripts."""
        return whisper.TokenLoss() if _writes_tokens(pretrained.model) else ctc.CtcLoss()

    def answers(self, outputs: Tensors, targets: Tensors) -> Batch:
        """Return each transcript's loss, and with CTC the letters that are written."""
        return ctc.answers(outputs, targets) if ctc.FRAMES in targets else whisper.answers(outputs, targets)

    def writes(self, model: Any) -> bool:
        """Return whether the model writes token by token; with CTC one pass gives all letters."""
        return _writes_tokens(model)

    def generate(self, model: Any, encoded: Encoded, rows: Sequence[int], generation: Generation) -> torch.Tensor:
        """Return the tokens that a model of Whisper's kind writes to some sounds."""
        return whisper.generate(model, super().collate(encoded, rows)["input_features"], generation)

    def statistics(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> Batch:
        """Return the edits of each transcript and what they are shares of, its loss, and what was written."""
        assert isinstance(encoded, EncodedSpeech)
        writes = whisper.SIZE in answers
        sizes = answers[whisper.SIZE] if writes else torch.tensor([len(ids) for ids in encoded.of("letters", rows)])
        loss = {LOSS: answers[ctc.LIKELIHOOD], SIZE: sizes}
        return self.text_statistics(_texts(answers, encoded, len(rows)), encoded, rows, loss)

    def used(self, answers: Tensors, encoded: Encoded, rows: Sequence[int]) -> list[list[Any]]:
        """Return the text of each sound; None where it hangs on the last digits of a number."""
        assert isinstance(encoded, EncodedSpeech)
        texts = _texts(answers, encoded, len(rows))
        if ctc.MARGIN not in answers:
            return [[text] for text in texts]
        leads = answers[ctc.MARGIN].tolist()
        return [[text if lead > CERTAIN else None] for text, lead in zip(texts, leads, strict=True)]

    def given(self, pretrained: Pretrained, examples: Split, row: int, max_length: int) -> Any:
        """Return a whole sound, (samples,) float32. Raises BadData."""
        return super().given(pretrained, examples, row, ALL_MILLISECONDS)

    def export(
        self, pretrained: Pretrained, examples: Split, targets: Transcripts, max_length: int, generation: Generation
    ) -> Usage:
        """Save the tokenizer beside the feature extractor, and how the model writes in its generation configuration."""
        extractor = saved_extractor(pretrained)
        rate, limit = extractor.sampling_rate, longest_sound(pretrained)
        writes = _writes_tokens(pretrained.model)
        if writes:
            whisper.keep_generation(pretrained.model, generation)
        hears = "a whole sound" if limit is None else f"sounds of up to {limit / 1000:g} s"
        sound = f"read_sound('sound.wav', {rate}, None, {least_samples(pretrained)})"
        made = f"recognise = {call(self.name, {})}\nprint(recognise({sound})['text'])"
        return Usage(
            tag=self.name,
            auto=TASKS[self.name].auto[int(writes)],
            kind="processor",
            processor=type(pretrained.processor)(feature_extractor=extractor, tokenizer=pretrained.processor.tokenizer),
            names=("text",),
            code=f"from typing import Any\n\nfrom transformers import pipeline\n\n\n{source(read_sound)}\n\n\n{made}\n",
            notes=(
                f"The model hears {hears}, one channel at {rate} Hz. `soundfile` reads sounds, `scipy` resamples them.",
            ),
            function=transcribed,
        )


def _writes_tokens(model: Any) -> bool:
    """Return whether a model has a decoder, which writes token by token."""
    return bool(model.config.is_encoder_decoder)


def _names(split: Split) -> list[str]:
    """Return the names of a split's sounds, for messages."""
    return [named(item, row, "sound") for row, item in enumerate(split.columns["audio"])]


def _texts(answers: Tensors, encoded: EncodedSpeech, count: int) -> list[str | None]:
    """Return the text of each of so many answers; None where nothing was written."""
    if ctc.IDS in answers:
        return [ctc.written_text(encoded.tokenizer, ids) for ids in answers[ctc.IDS]]
    if GENERATED not in answers:
        return [None] * count
    rows = answers[GENERATED]
    return [None if row[0] == NOT_GENERATED else whisper.written_text(encoded.tokenizer, row) for row in rows]
