"""Augmentation of speech: what is heard changes, what was said does not, with CTC and for a Whisper."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment
from luthier.trials.errors import BadData
from luthier.trials.jobs.train import train
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.tiers import a_few
from tests.support.tiny_speech import SPEECH_ARCHITECTURES, tiny_speech
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
TASK = "automatic-speech-recognition"
SUITED = [("wav2vec2-ctc", "noise"), ("whisper-speech", "spec_augment"), ("whisper-speech", "noise")]


def speech(assign: Assign, folder: Path, name: str, augmentation: str, **fields: Any) -> Assignment:
    """Return a trial over a few recordings."""
    data, model = folder / "data" / "data.csv", folder / name
    source = data if data.exists() else tiny_speech(folder / "data", 20)
    built = model if model.exists() else SPEECH_ARCHITECTURES[name].build(model)
    dataset = {"source": str(source), "validation": 0.2, "test": 0}
    spec = {"task": TASK, "model": str(built), "dataset": dataset, "augmentation": augmentation}
    return assign(spec=spec | {"objective": {"metric": "loss", "direction": "minimize"}}, **fields)


@pytest.mark.parametrize(("name", "augmentation"), a_few(2, SUITED))
def test_sounds_change_in_every_batch_and_transcripts_stay(
    assign: Assign, tmp_path: Path, name: str, augmentation: str
) -> None:
    study = ModelCache().open(speech(assign, tmp_path, name, augmentation))
    encoded = study.encoded("train", 0)
    ((key, plain),) = encoded.columns.items()
    rows, batches = [4, 0, 2], []
    for seed in (1, 1, 2):
        random.seed(seed)
        batches.append(study.task.collate_augmented(*encoded.drawn(rows)))
    (one, targets), (again, _), (other, _) = batches
    assert torch.equal(one[key], again[key])
    assert not torch.equal(one[key], other[key])
    assert not torch.equal(one[key], study.task.collate(encoded, rows)[key])
    expected = study.task.collate_targets(encoded, rows)
    assert targets.keys() == expected.keys()
    assert all(torch.equal(values, expected[name]) for name, values in targets.items()), "what was said"
    drawn, places = encoded.drawn(rows)
    assert [len(drawn.columns[key][place]) for place in places] == [len(plain[row]) for row in rows], "no sound is cut"
    validation = study.encoded("validation", 0)
    assert validation.changes is None


def test_a_batch_of_speech_in_pieces_has_the_same_gradient(assign: Assign, tmp_path: Path) -> None:
    study = ModelCache().open(speech(assign, tmp_path, "whisper-speech", "spec_augment"))
    encoded = study.encoded("train", 0)
    gradients = []
    for limit in (None, 2):
        size = MicroBatch()
        size.limit = limit
        engine = Engine(study.pretrained.model.eval(), study.task, size, study.loss(encoded, complete({})))
        random.seed(5)
        engine.gradient(encoded, range(5))
        gradients.append(torch.cat([p.grad.flatten() for p in engine.trained if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


@pytest.mark.full
def test_a_trial_with_noise_learns_from_other_sounds(assign: Assign, tmp_path: Path) -> None:
    losses = []
    for augmentation in ("none", "noise", "noise"):
        session = Memory(tmp_path / f"trial {len(losses)}")
        work = speech(assign, tmp_path, "hubert-ctc", augmentation, params={"epochs": 1, "batch_size": 8})
        assert train(work, session, ModelCache()).status == "complete"
        losses.append(session.metrics[-1]["loss"])
    assert losses[1] == losses[2]
    assert losses[0] != losses[1]
    assert numpy.isfinite(losses).all()


def test_what_would_make_a_transcript_untrue_is_refused(assign: Assign, tmp_path: Path) -> None:
    for augmentation in ("time_shift", "mixup"):
        with pytest.raises(ValueError, match="must be none, noise or spec_augment"):
            speech(assign, tmp_path, "wav2vec2-ctc", augmentation)
    study = ModelCache().open(speech(assign, tmp_path, "wav2vec2-ctc", "spec_augment"))
    with pytest.raises(BadData, match="hears waveforms; take augmentation: noise, or another model"):
        study.encoded("train", 0)
