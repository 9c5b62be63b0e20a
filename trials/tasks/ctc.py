"""Speech recognition with CTC: a letter or a blank for each frame of a sound (Graves et al. 2006).

`automatic_speech_recognition` calls it for models of AutoModelForCTC. The loss is computed outside of the model, so
that a batch in pieces weighs what it weighs whole. What a frame says is the most likely letter, as pipelines have it.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn import functional

from luthier.trials.data.transcripts import Transcripts
from luthier.trials.errors import BadData
from luthier.trials.model import pretrained as models
from luthier.trials.model.pretrained import Head, Pretrained
from luthier.trials.tasks.base import Loss
from luthier.trials.tasks.scoring import NO_TOKEN, Batch, Tensors
from luthier.trials.tasks.vocabularies import letter_ids, new_vocabulary, own_tokenizer, tokenizer_of

LETTERS, COUNTS, FRAMES, WIDTH, BLANK = "labels", "label_lengths", "frames", "width", "blank"
"""Targets of a batch: (rows, longest) letters, the number of them, the number of frames; for all rows alike the most
frames of a row of the split, and the id of CTC's blank; each (rows,)."""
IDS, MARGIN, LIKELIHOOD = "ids", "margin", "nll"
"""Answers: (rows, width) the letters that are written; (rows,) by how much the least certain frame is decided; (rows,)
the negative log likelihood of the transcript."""
SHOWN = 5  # rows in a message


def load(task: str, folder: Path, name: str, targets: Transcripts, extractor: Any) -> Pretrained:
    """Load a model with a head for the letters of the transcripts, and its processor.

    A checkpoint that was trained with CTC keeps its head and its vocabulary if these can write the transcripts; else
    the head is drawn anew.

    Raises:
        BadData: The model cannot be loaded.
    """
    tokenizer = own_tokenizer(folder, name, targets.letters)
    head = Head()
    if tokenizer is None:
        vocabulary = new_vocabulary(targets.letters)
        tokenizer = tokenizer_of(vocabulary)
        special = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
        head = Head(options={"vocab_size": len(vocabulary), **special}, fresh=True)
    join: Any = transformers.Wav2Vec2Processor
    processor = join(feature_extractor=extractor, tokenizer=tokenizer)
    pretrained = models.load(task, folder, name, head, processor)
    if not hasattr(pretrained.model, "_get_feat_extract_output_lengths"):
        kind = pretrained.model.config.model_type
        text = f"{name} is a model of the type {kind}, which does not tell how many frames a sound becomes; choose one "
        raise BadData(f"{text}of the kind of wav2vec2, hubert or wavlm.", "model")
    return pretrained


def frame_counts(pretrained: Pretrained, samples: Sequence[int]) -> torch.Tensor:
    """Return the number of frames that the model makes of sounds with so many samples, (sounds,)."""
    model: Any = pretrained.model
    frames: torch.Tensor = model._get_feat_extract_output_lengths(torch.tensor(samples))
    return frames.long()


def encode_transcripts(pretrained: Pretrained, texts: Sequence[str]) -> list[list[int]]:
    """Return the letters' ids of transcripts."""
    tokenizer = pretrained.processor.tokenizer
    return [letter_ids(tokenizer, text) for text in texts]


def check_room(letters: Sequence[Sequence[int]], frames: Sequence[int], names: Sequence[str]) -> None:
    """Check that every transcript fits into the frames of its sound: equal letters have a blank between them.

    Args:
        letters: The ids of each transcript.
        frames: Of each sound.
        names: Of the sounds, for messages.

    Raises:
        BadData: One does not fit.
    """
    wrong = []
    for ids, count, name in zip(letters, frames, names, strict=True):
        needed = len(ids) + sum(one == two for one, two in pairwise(ids))
        if needed > count:
            wrong.append(f"{name} ({len(ids):,} letters need {needed:,} frames, and its sound has {count:,})")
    if wrong:
        shown = ", ".join(wrong[:SHOWN]) + (f" and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else "")
        text = f"{len(wrong):,} of {len(letters):,} transcripts are longer than their sounds allow: {shown}. "
        raise BadData(f"{text}Correct their transcripts, or remove their rows.", "dataset", "source")


def collate(letters: Sequence[Sequence[int]], frames: torch.Tensor, width: int, blank: int) -> Batch:
    """Return the targets of some rows; `width` and `blank` as in `WIDTH` and `BLANK`."""
    counts = torch.tensor([len(ids) for ids in letters])
    padded = torch.full((len(letters), int(counts.max())), blank)
    for row, ids in enumerate(letters):
        padded[row, : len(ids)] = torch.tensor(ids)
    same = torch.ones_like(frames)
    return {LETTERS: padded, COUNTS: counts, FRAMES: frames, WIDTH: width * same, BLANK: blank * same}


def losses(outputs: Tensors, targets: Tensors) -> torch.Tensor:
    """Return the negative log likelihood of each transcript, (rows,), on the model's device.

    It is infinite for no transcript that `check_room` lets pass.
    """
    log_probabilities = outputs["logits"].float().log_softmax(-1).transpose(0, 1)  # (frames, rows, letters)
    letters = targets[LETTERS].to(log_probabilities.device, non_blocking=True)
    return functional.ctc_loss(
        log_probabilities,
        letters,
        targets[FRAMES],
        targets[COUNTS],
        blank=int(targets[BLANK][0]),
        reduction="none",
    )


class CtcLoss(Loss):
    """The negative log likelihood of the transcripts, by their letters."""

    def weight(self, targets: Tensors) -> float:
        """Return the number of letters."""
        return int(targets[COUNTS].sum())

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the sum over the transcripts, ()."""
        return losses(outputs, targets).sum()


def counted(outputs: Tensors, targets: Tensors) -> torch.Tensor:
    """Return the logits of the frames that belong to the sounds, (frames of all rows, letters)."""
    return outputs["logits"][_heard(outputs["logits"], targets)]


def answers(outputs: Tensors, targets: Tensors) -> Batch:
    """Return what is written, one letter for each run of frames that say the same, and the transcripts' loss."""
    logits = outputs["logits"].float()
    heard = _heard(logits, targets)  # (rows, frames)
    best = logits.topk(2, -1)
    ids = best.indices[..., 0]
    repeated = functional.pad(ids[:, 1:] == ids[:, :-1], (1, 0))
    written = heard & ~repeated & (ids != int(targets[BLANK][0]))
    order = (~written).to(torch.uint8).argsort(dim=1, stable=True)  # what is written first
    packed = ids.masked_fill(~written, NO_TOKEN).gather(1, order)
    gap = (best.values[..., 0] - best.values[..., 1]).masked_fill(~heard, torch.inf)
    return {
        IDS: functional.pad(packed, (0, int(targets[WIDTH][0]) - packed.shape[1]), value=NO_TOKEN).int(),
        MARGIN: gap.amin(1),
        LIKELIHOOD: losses(outputs, targets),
    }


def written_text(tokenizer: Any, ids: torch.Tensor) -> str:
    """Return the text that a row's letters are, as pipelines write it."""
    text: str = tokenizer.decode(ids[ids != NO_TOKEN].tolist(), group_tokens=False)
    return text


def _heard(logits: torch.Tensor, targets: Tensors) -> torch.Tensor:
    """Return which frames belong to the sounds and not to padding, (rows, frames)."""
    frames = targets[FRAMES].to(logits.device, non_blocking=True)
    return torch.arange(logits.shape[1], device=logits.device) < frames[:, None]
