"""Augmentation of sounds: what changes and by how much, and trials that repeat themselves and resume exactly."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment, Decision
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.sound_changes import blanked, shifted, with_noise
from luthier.trials.errors import BadData, Ended
from luthier.trials.jobs.train import train
from luthier.trials.tasks.mixing import OTHER, SHARE
from luthier.trials.tasks.sound_augmentation import SoundMixing, SpectrumChanges, StoredSound, WaveChanges
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
SECOND = numpy.sin(numpy.arange(16_000, dtype=numpy.float32) / 9)


@pytest.fixture
def sounds(tmp_path: Path, assign: Assign) -> Callable[..., Assignment]:
    """sounds(architecture, augmentation, ...) over tiny sounds of two classes."""
    source = {"source": str(tiny_data("audio-classification", tmp_path / "data", rows=40)), "test": 0}

    def make(name: str, augmentation: str, params: dict[str, Any] | None = None, **fields: Any) -> Assignment:
        folder = tmp_path / name
        model = folder if folder.exists() else ARCHITECTURES[name].build(folder)
        spec = {"task": "audio-classification", "model": str(model), "dataset": source}
        spec |= {"augmentation": augmentation, "evaluations_per_epoch": 2}
        return assign(spec=spec, params={"epochs": 1, "batch_size": 6} | (params or {}), **fields)

    return make


def test_noise_has_the_strength_that_is_drawn() -> None:
    random.seed(0)
    ratios = []
    for _ in range(200):
        noise = with_noise(SECOND, 0.1) - SECOND
        ratios.append(10 * numpy.log10(numpy.mean(SECOND**2) / numpy.mean(noise**2)))
    assert 9.9 < min(ratios) < 12
    assert 28 < max(ratios) < 30.1
    assert 19 < numpy.mean(ratios) < 21
    assert not with_noise(numpy.zeros(100, numpy.float32), 0.1).any(), "silence stays silence"


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.9])
def test_a_sound_is_shifted_both_ways_up_to_the_rate(rate: float) -> None:
    sound = numpy.arange(1, 1001, dtype=numpy.float32)
    random.seed(0)
    shifts = []
    for _ in range(300):
        moved = shifted(sound, rate)
        (places,) = moved.nonzero()
        shift = int(places[0] - (moved[places[0]] - 1))
        assert numpy.array_equal(moved[places], sound[places - shift])
        assert len(places) == 1000 - abs(shift)
        shifts.append(shift)
    assert -rate * 1000 <= min(shifts) <= -0.9 * rate * 1000
    assert 0.9 * rate * 1000 <= max(shifts) <= rate * 1000


@pytest.mark.parametrize("bands", [-1, -2])
@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_bands_of_time_and_frequency_are_blanked_within_the_sound(bands: int, rate: float) -> None:
    shape = (100, 40) if bands == -1 else (40, 100)
    spectrum = numpy.random.default_rng(0).normal(5, 1, shape).astype(numpy.float32)
    random.seed(0)
    shares = []
    for _ in range(400):
        made = blanked(spectrum, rate, bands, 60)
        assert made.dtype == spectrum.dtype
        changed = made != spectrum
        by_time = changed if bands == -1 else changed.T
        assert not by_time[60:].any(), "padding stays"
        rows, columns = by_time[:60].all(1), by_time[:60].all(0)
        assert numpy.array_equal(by_time[:60], rows[:, None] | columns), "whole bands"
        shares.append((rows.mean(), columns.mean()))
        if changed.any():
            assert abs(float(made[changed][0]) - 5) < 0.2
    assert numpy.mean(shares, 0) == pytest.approx(rate * 0.95, abs=0.02)  # less some overlap
    assert numpy.max(shares) <= 2 * rate + 0.01


@pytest.mark.parametrize("loudness", [0.0, 0.01, 1.0, 20_000.0])
def test_a_stored_sound_is_the_sound(loudness: float) -> None:
    stored = StoredSound.of(loudness * SECOND).waveform()
    assert numpy.abs(stored - loudness * SECOND).max() <= max(1.0, loudness) / 65_000
    exact = numpy.array([-32_767 / 32_768, -1 / 32_768, 0, 0.5, 32_767 / 32_768], numpy.float32)
    assert numpy.array_equal(StoredSound.of(exact).waveform(), exact)


def _drawn(encoded: Encoded, seed: int) -> list[numpy.ndarray]:
    random.seed(seed)
    (values,) = encoded.drawn([0, 1, 2])[0].columns.values()
    return list(values)


@pytest.mark.full
@pytest.mark.parametrize("name", ["wav2vec2", "ast"])
def test_a_mixture_of_sounds_is_their_weighted_mean(sounds: Callable[..., Assignment], name: str) -> None:
    study = ModelCache().open(sounds(name, "mixup"))
    encoded = study.encoded("train", 500)
    assert isinstance(encoded.changes, SoundMixing)
    changes = replace(encoded.changes, features=lambda sound: sound, alpha=1.0)
    if changes.sounds is not None:  # one second, and half of one: of the longer partner the start is heard
        changes = replace(changes, sounds=[StoredSound.of(0.9 * SECOND), StoredSound.of(SECOND[5000:13_000] / 3)] * 3)
        waves = [sound.waveform() for sound in changes.sounds]
    else:
        waves = [values.astype(numpy.float32) for values in next(iter(encoded.columns.values()))[:6]]
    random.seed(3)
    batch = changes.draw(encoded.sample(range(6)))
    (mixed,) = batch.columns.values()
    for row, share in enumerate(torch.as_tensor(batch.targets[SHARE]).tolist()):
        rest = (mixed[row] - share * waves[row]) / (1 - share)
        fitting = []
        for partner, wave in enumerate(waves):
            length = min(len(wave), len(rest))
            if (
                numpy.allclose(rest[:length], wave[:length], atol=1e-3)
                and numpy.abs(rest[length:]).max(initial=0) < 1e-3
            ):
                fitting.append(partner)
        assert len(mixed[row]) == len(waves[row])
        assert any(encoded.targets["labels"][i] == batch.targets[OTHER][row] for i in fitting)


@pytest.mark.parametrize("name", ["wav2vec2", "ast", "whisper"])
@pytest.mark.parametrize("augmentation", a_few(1, ["noise", "time_shift"]))
def test_the_model_hears_what_its_extractor_makes_of_the_changed_sound(
    sounds: Callable[..., Assignment], name: str, augmentation: str
) -> None:
    study = ModelCache().open(sounds(name, augmentation))
    encoded = study.encoded("train", 500)
    assert isinstance(encoded.changes, WaveChanges)
    (plain,) = encoded.columns.values()
    one, again, other = (_drawn(encoded, seed) for seed in (1, 1, 2))
    for before, first, second, third in zip(plain, one, again, other, strict=False):
        assert before.shape == first.shape
        assert numpy.array_equal(first, second)
        assert not numpy.allclose(first, third, atol=1e-3)
    random.seed(1)
    raw = study.task.given(study.pretrained, study.data.splits["train"], 0, 500)
    change = with_noise if augmentation == "noise" else shifted
    expected = encoded.changes.features(change(raw, 0.1))
    distance = numpy.abs(one[0] - expected).mean()  # the logarithm of next to nothing magnifies what 16 bits lose
    assert distance < 0.02, "as if the file had been changed"
    still = _drawn(encoded.tuned(complete({"augmentation_rate": 0})), 1)
    if augmentation == "time_shift":
        assert numpy.abs(still[0] - plain[0]).mean() < 0.02


@pytest.mark.parametrize("name", ["ast", "whisper"])
def test_spectra_are_blanked_along_their_own_axes(sounds: Callable[..., Assignment], name: str) -> None:
    study = ModelCache().open(sounds(name, "spec_augment"))
    encoded = study.encoded("train", 500)
    assert isinstance(encoded.changes, SpectrumChanges)
    assert encoded.changes.bands == (-1 if name == "ast" else -2)
    (plain,) = encoded.columns.values()
    assert all(0 < filled <= plain[0].shape[-3 - encoded.changes.bands] for filled in encoded.changes.filled)
    assert any((a != b).any() for a, b in zip(plain, _drawn(encoded, 1), strict=False))


def test_waveforms_have_no_spectrum_to_blank(sounds: Callable[..., Assignment]) -> None:
    study = ModelCache().open(sounds("wav2vec2", "spec_augment"))
    with pytest.raises(BadData, match="hears waveforms; take augmentation: noise, time_shift or mixup") as refused:
        study.encoded("train", 500)
    assert refused.value.path == ["augmentation"]


def test_a_batch_in_pieces_has_the_same_gradient(sounds: Callable[..., Assignment]) -> None:
    study = ModelCache().open(sounds("ast", "noise"))
    encoded = study.encoded("train", 500)
    model = study.pretrained.model.eval()
    gradients = []
    for limit in (None, 2):
        size = MicroBatch()
        size.limit = limit
        engine = Engine(model, study.task, size, study.loss(encoded, complete({})))
        random.seed(5)
        engine.gradient(encoded, range(5))
        gradients.append(torch.cat([p.grad.flatten() for p in engine.trained if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "augmentation"), [("ast", "spec_augment"), ("wav2vec2", "time_shift")])
@pytest.mark.full
def test_an_augmented_trial_repeats_itself_and_resumes_exactly(
    sounds: Callable[..., Assignment], tmp_path: Path, name: str, augmentation: str
) -> None:
    plain, whole = Memory(tmp_path / "plain"), Memory(tmp_path / "whole")
    train(sounds(name, "none"), plain, ModelCache())
    train(sounds(name, augmentation), whole, ModelCache())
    assert whole.metrics != plain.metrics
    first, second = Memory(tmp_path / "parts", lambda step: Decision.STOP), Memory(tmp_path / "parts")
    with pytest.raises(Ended):
        train(sounds(name, augmentation), first, ModelCache())
    train(sounds(name, augmentation, attempt=2, checkpoint=first.checkpoint()), second, ModelCache())
    assert first.metrics + second.metrics == whole.metrics
