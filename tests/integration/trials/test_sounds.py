"""Sounds: decoded, mixed and resampled; the features the model's own extractor makes; refused with a sentence."""

import gc
import io
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import soundfile
import torch
import transformers as hf

from luthier.studies.protocol import Assignment
from luthier.studies.results import Batching
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.sounds import read_audio
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.jobs.train import train
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.audio_classification import AudioClassification
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.seeding import seed_everything
from tests.support.architecture import SPEECH, Architecture
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.trials import Memory

RATE = 16_000

task = AudioClassification()


def _tone(seconds: float = 0.5, rate: int = RATE, pitch: float = 440.0) -> numpy.ndarray:
    return 0.5 * numpy.sin(2 * numpy.pi * pitch * numpy.arange(round(seconds * rate)) / rate)


def _bytes(samples: numpy.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def _split(*items: Path | bytes) -> Split:
    return Split({"audio": list(items)}, [0] * len(items))


def _load(name: str, folder: Path) -> Pretrained:
    return task.load(ARCHITECTURES[name].build(folder / name), name, ClassTargets(("a", "b")))


def _pitch(samples: numpy.ndarray) -> float:
    """The loudest frequency, in hertz."""
    return float(numpy.abs(numpy.fft.rfft(samples)).argmax() * RATE / len(samples))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_becomes_the_models(rate: int) -> None:
    found = read_audio(_bytes(_tone(1.0, rate), rate), "x", RATE, 5)
    assert found.dtype == numpy.float32
    assert abs(len(found) - RATE) <= 1
    middle = found[2_000:-2_000]
    assert numpy.allclose(middle, _tone(1.0)[2_000 : 2_000 + len(middle)], atol=0.01), "neither faster nor louder"


def test_what_lies_above_the_new_range_is_filtered_out() -> None:
    found = read_audio(_bytes(_tone(1.0, 48_000, pitch=15_000), 48_000), "x", RATE, 5)
    assert numpy.abs(found[500:-500]).max() < 0.01


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", None),
     ("OGG", "OPUS"), ("MP3", None), ("AIFF", None)],
)  # fmt: skip
def test_formats_and_channels(kind: str, subtype: str | None, tmp_path: Path) -> None:
    tone = _tone(pitch=1_000)
    content = _bytes(numpy.stack([tone, 0 * tone], 1), RATE, kind, subtype)
    path = tmp_path / f"x.{kind.lower()}"
    path.write_bytes(content)
    found = read_audio(path, "x", RATE, 5)
    assert numpy.array_equal(found, read_audio(content, "x", RATE, 5))
    assert abs(_pitch(found) - 1_000) < 5
    assert numpy.abs(found[3_000:5_000]).max() == pytest.approx(0.25, abs=0.05), "both channels count alike"


def test_a_sound_is_read_from_its_start_and_no_further_than_needed() -> None:
    whole = numpy.concatenate([_tone(1.0, 44_100), 0.1 * _tone(2.0, 44_100, pitch=3_000)])
    content = _bytes(whole, 44_100, subtype="FLOAT")
    found, longer = (read_audio(content, "x", RATE, seconds) for seconds in (0.7, 2.9))
    assert len(found) == round(0.7 * RATE)
    assert numpy.allclose(found, longer[: len(found)], atol=1e-6)
    head = content[: 4 * 44_100]  # the rest is never looked at
    assert numpy.array_equal(read_audio(head, "x", RATE, 0.7), found)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as a sound"),
        (b"not a sound at all", "cannot be read as a sound"),
        (_bytes(_tone())[:20], "cannot be read as a sound"),
        (_bytes(numpy.zeros(0)), "holds no sound"),
        (_bytes(numpy.array([0.1, numpy.nan]), subtype="FLOAT"), "no finite numbers"),
    ],
)
def test_what_is_no_sound_is_refused_by_name(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    pretrained = _load("ast", tmp_path)
    for item, name in ((path, str(path)), (content, "The sound of example 2")):
        with pytest.raises(BadData, match=said) as caught:
            task.encode(pretrained, _split(_bytes(_tone()), item), 1_000)
        assert caught.value.message.startswith(name)
        assert caught.value.path == ["dataset", "source"]


def test_silence_at_the_start_of_a_sound_is_sound() -> None:
    content = _bytes(numpy.concatenate([numpy.zeros(RATE), _tone()]))
    assert not read_audio(content, "x", RATE, 0.5).any()


@pytest.mark.parametrize("name", ["ast", "wav2vec2", "whisper"])
def test_silence_is_a_sound(name: str, tmp_path: Path) -> None:
    pretrained = _load(name, tmp_path)
    encoded = task.encode(pretrained, _split(_bytes(numpy.zeros(RATE)), _bytes(_tone())), 1_000)
    with torch.no_grad():
        answers = pretrained.model.eval()(**task.collate(encoded, [0, 1])).logits
    assert torch.isfinite(answers).all()


def test_spectra_of_different_lengths_are_padded_and_masked(tmp_path: Path) -> None:
    config = hf.Wav2Vec2BertConfig(**SPEECH)
    extractor = hf.SeamlessM4TFeatureExtractor()
    architecture = Architecture("audio-classification", 3, lambda: config, extractor.save_pretrained)
    pretrained = task.load(architecture.build(tmp_path / "model"), "bert", ClassTargets(("a", "b")))
    split = _split(*(_bytes(_tone(seconds)) for seconds in (0.3, 2.0, 0.5, 0.4)))
    encoded, model = task.encode(pretrained, split, 3_000), pretrained.model.eval()
    batch = task.collate(encoded, [0, 1, 2])
    assert batch["input_features"].shape == (3, encoded.lengths[1], 160)
    assert batch["attention_mask"].sum(1).tolist() == list(encoded.lengths[:3])
    single = encoded.batched(Batching.SINGLE)
    with torch.no_grad():
        together = model(**batch).logits
        alone = torch.cat([model(**task.collate(single, [row])).logits for row in range(3)])
    assert torch.allclose(together, alone, atol=1e-5 * float(alone.abs().max()))
    assert encoded.batched(Batching.EQUAL).lengths == encoded.lengths
    assert list(single.lengths) == [1] * 4


SOUNDS = [_tone(0.3), _tone(0.5, pitch=900), _tone(0.41, pitch=100)]


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm", "whisper", "ast"])
def test_a_batch_is_what_the_extractor_makes(name: str, tmp_path: Path) -> None:
    pretrained = _load(name, tmp_path)
    encoded = task.encode(pretrained, _split(*(_bytes(s, subtype="FLOAT") for s in SOUNDS)), 450)
    batch = task.collate(encoded, [2, 0])
    sounds = [SOUNDS[i][: round(0.45 * RATE)].astype(numpy.float32) for i in (2, 0)]
    options: dict[str, Any] = {}
    if "attention_mask" in batch:  # as long as the longest of the split
        options = {"padding": "max_length", "max_length": round(0.45 * RATE)}
    if name == "whisper":  # 50 positions of 2 frames of 160 samples
        options = {"max_length": 16_000}
    if name == "wav2vec2":  # no mask either: the extractor would take padding for sound
        single = [pretrained.processor(s, sampling_rate=RATE)["input_values"][0] for s in sounds]
        wanted = {"input_values": torch.tensor(numpy.stack([numpy.pad(s, (0, 7_200 - len(s))) for s in single]))}
    else:
        wanted = pretrained.processor(sounds, sampling_rate=RATE, return_tensors="pt", **options)
    for key, made in batch.items():
        assert made.shape == wanted[key].shape
        assert made.dtype == (torch.long if "mask" in key else torch.float32)
        assert torch.allclose(made, wanted[key].to(made.dtype), rtol=1e-3, atol=1e-3)


def test_a_few_long_sounds_do_not_lengthen_batches_of_short_ones(tmp_path: Path) -> None:
    sounds = [_tone(seconds) for seconds in (0.2, 0.3, 2.0, 0.25)]
    for name, longest in (("hubert", 0.3), ("wavlm", 2.0)):  # WavLM normalises over time, padding included
        encoded = task.encode(_load(name, tmp_path), _split(*map(_bytes, sounds)), 5_000)
        assert task.collate(encoded, [0, 1, 3])["attention_mask"].shape == (3, round(longest * RATE))


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm", "whisper", "ast"])
def test_an_examples_logits_do_not_depend_on_its_neighbours(name: str, tmp_path: Path) -> None:
    pretrained = _load(name, tmp_path)
    encoded = task.encode(pretrained, _split(*map(_bytes, SOUNDS)), 5_000)
    with torch.no_grad():
        for head in (pretrained.model.classifier, getattr(pretrained.model.classifier, "dense", None)):
            if isinstance(head, torch.nn.Linear):
                head.weight.mul_(1_000)  # a fresh head tells sounds apart by little
        together = pretrained.model.eval()(**task.collate(encoded, [0, 1, 2])).logits
        apart = torch.cat([pretrained.model(**task.collate(encoded, [i])).logits for i in range(3)])
    assert torch.allclose(together, apart, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1], rtol=0, atol=5e-3)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm"])
def test_frozen_blocks_see_no_mask_of_the_training_mode(name: str, tmp_path: Path) -> None:
    """SpecAugment draws what it masks before the first block: with that frozen, it is the same in every epoch."""
    pretrained = _load(name, tmp_path)
    pretrained.model.config.mask_time_prob = 0.9
    backbone = Backbone.find(pretrained.model, pretrained.fresh)
    batch = task.collate(task.encode(pretrained, _split(*map(_bytes, SOUNDS)), 5_000), [0, 1, 2])
    seen: list[torch.Tensor] = []
    backbone.blocks[0].register_forward_hook(
        lambda module, inputs, output: seen.append(output if isinstance(output, torch.Tensor) else output[0])
    )
    for depth in (0, 1):
        pretrained.reset(0, dropout=0.0)
        backbone.freeze(depth)
        backbone.train_mode()
        seen.clear()
        for seed in (1, 2):
            seed_everything(seed)
            pretrained.model(**batch)
        assert torch.equal(*seen) == (depth == 1)


def test_sounds_too_short_for_the_model_are_padded(assign: Callable[..., Assignment], tmp_path: Path) -> None:
    """A thirtieth of a second holds fewer frames than a mask of the training mode is long."""
    rows = ["audio,label"]
    for i in range(20):
        soundfile.write(tmp_path / f"{i}.wav", _tone(0.03, pitch=500 + 1_000 * (i % 2)), RATE)
        rows.append(f"{i}.wav,{'ab'[i % 2]}")
    (tmp_path / "data.csv").write_text("\n".join(rows))
    for name in ("wav2vec2", "ast"):
        model = ARCHITECTURES[name].build(tmp_path / name)
        spec = {"task": "audio-classification", "model": str(model), "dataset": {"source": str(tmp_path / "data.csv")}}
        assert train(assign(spec=spec, params={"epochs": 1}), Memory(tmp_path / "s"), ModelCache()).status == "complete"


def test_a_search_over_lengths_does_not_keep_them_all(assign: Callable[..., Assignment], tmp_path: Path) -> None:
    model = ARCHITECTURES["ast"].build(tmp_path / "model")
    source = {"source": str(tiny_data("audio-classification", tmp_path / "data"))}
    opened = ModelCache().open(assign(spec={"task": "audio-classification", "model": str(model), "dataset": source}))
    kept = [weakref.ref(opened.encoded("validation", length)) for length in range(50, 250, 10)]
    gc.collect()
    assert kept[-1]() is opened.encoded("validation", 240)
    assert sum(ref() is not None for ref in kept) < 10


@pytest.mark.full
def test_it_learns(assign: Callable[..., Assignment], session: Memory, tmp_path: Path) -> None:
    model = ARCHITECTURES["whisper"].build(tmp_path / "model")
    source = {"source": str(tiny_data("audio-classification", tmp_path / "data", rows=80)), "test": 0}
    spec = {"task": "audio-classification", "model": str(model), "dataset": source}
    train(assign(spec=spec, params={"epochs": 5, "learning_rate": 2e-3}), session, ModelCache())
    assert session.metrics[-1]["accuracy"] > 0.9


def test_model_and_extractor_must_fit(tmp_path: Path) -> None:
    folder = ARCHITECTURES["ast"].build(tmp_path)
    hf.ASTFeatureExtractor(num_mel_bins=64, max_length=1024).save_pretrained(folder)
    with pytest.raises(BadData, match=r"what its feature extractor makes does not suit the model"):
        task.load(folder, "m", ClassTargets(("a", "b")))
    hf.ViTImageProcessor().save_pretrained(folder)
    with pytest.raises(BadData, match=r"preprocessor_config.json cannot be loaded"):
        task.load(folder, "m", ClassTargets(("a", "b")))
