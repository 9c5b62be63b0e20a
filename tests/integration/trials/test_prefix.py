"""The frozen-prefix cache: the same scores as without it, each prefix computed once on a machine."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from luthier.studies.protocol import Assignment
from luthier.studies.results import Batching
from luthier.studies.tasks import TASKS
from luthier.trials.data.batches import pieces
from luthier.trials.jobs.train import train
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix import cache
from luthier.trials.prefix.tiered_files import Tier, TieredFiles
from luthier.trials.tasks.transcribing import EncodedSpeech
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import prepare
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.logits import logits_of
from tests.support.task_study import Study, study
from tests.support.tiny import tiny_csv, tiny_sound
from tests.support.tiny_speech import RATE, spoken
from tests.support.trials import Memory

__all__ = ["study"]  # the fixture

Assign = Callable[..., Assignment]

BUILT = re.compile(r"frozen prefix of depth (\d+): (\d+) (\w+) examples from (.*) in ")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "prefixes"
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(folder))
    return folder


def built(session: Memory) -> list[tuple[str, str, str]]:
    """(depth, split, from what) of each prefix that was computed."""
    found = (BUILT.match(line) for line in session.lines)
    return [(m[1], m[3], m[4]) for m in found if m]


def test_only_depths_that_have_a_file_are_planned(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find a cut takes many forwards, and a model may have dozens of depths."""
    planned: list[int] = []
    find = cache.find_cut

    def counted(backbone: Backbone, depth: int, *others: Any) -> Any:
        planned.append(depth)
        return find(backbone, depth, *others)

    monkeypatch.setattr(cache, "find_cut", counted)
    work = assign(params={"freeze_depth": 2, "epochs": 1})
    train(work, Memory(tmp_path / "first"), ModelCache())
    assert set(planned) == {2}


# torch warns of how transformers' WavLM calls it.
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_scores_are_those_without_the_cache_at_every_depth(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ModelCache()
    depths = range(1, study.architecture.blocks + 1)
    with monkeypatch.context() as without:
        without.setenv("LUTHIER_CACHE_DISK", "0")
        expected = {depth: study.trial(depth, plain) for depth in depths}
    for below, depth in pairwise([0, *depths]):
        first, second = study.trial(depth), study.trial(depth)
        origin = f"depth {below}" if below else "the model's inputs"
        assert built(first) == [(str(depth), "train", origin), (str(depth), "validation", origin)], first.lines
        assert built(second) == []
        assert not any("without" in line for line in second.lines)
        assert "LUTHIER_CACHE_DISK allow none" in expected[depth].lines[0]
        assert second.metrics == first.metrics
        for mine, theirs in zip(first.metrics, expected[depth].metrics, strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
            metrics = TASKS[study.architecture.task].metrics
            share = next((metric.name for metric in metrics if metric.binary and not metric.generated), metrics[0].name)
            assert mine[share] == pytest.approx(theirs[share], abs=1e-5)


def test_a_budget_too_small_leaves_the_trial_uncached_and_its_log_says_why(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE_DISK", "1000")
    session = Memory(tmp_path / "s")
    train(assign(params={"freeze_depth": 1, "epochs": 1}), session, ModelCache())
    assert "trains without the frozen-prefix cache, because it takes" in session.lines[0]
    assert session.reports


def test_another_seed_data_or_length_has_prefixes_of_its_own(assign: Assign, tmp_path: Path) -> None:
    other = tiny_csv(tmp_path / "other.csv", seed=1)
    for number, (params, spec, count) in enumerate(
        [
            ({}, {}, 2),
            ({"learning_rate": 1e-3, "batch_size": 16, "weight_decay": 0.1, "dropout": 0.3}, {}, 0),
            ({"max_length": 5}, {}, 2),
            ({}, {"dataset": {"source": str(other)}}, 2),
            ({}, {"precision": "bfloat16"}, 2),
        ]
    ):
        session = Memory(tmp_path / f"s{number}")
        train(assign(params={"freeze_depth": 2, "epochs": 1} | params, spec=spec), session, ModelCache())
        assert len(built(session)) == count, (number, session.lines)


@pytest.mark.full
def test_bfloat16_is_close_and_keeps_float32_weights(assign: Assign, tmp_path: Path) -> None:
    exact, half = Memory(tmp_path / "exact"), Memory(tmp_path / "half")
    for depth in (0, 1):
        params = {"freeze_depth": depth, "dropout": 0.0}
        train(assign(params=params), exact, ModelCache())
        train(assign(params=params, spec={"precision": "bfloat16"}), half, warm := ModelCache())
        assert half.metrics[-1]["loss"] != exact.metrics[-1]["loss"]
        assert half.metrics[-1]["loss"] == pytest.approx(exact.metrics[-1]["loss"], abs=0.05)
        model = warm.open(assign()).pretrained.model
        assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_every_architecture_trains_in_bfloat16_or_says_that_it_cannot(study: Study) -> None:
    study.spec["precision"] = "bfloat16"
    for depth in (0, 1):
        session = study.trial(depth)
        written = {metric.name for metric in TASKS[study.architecture.task].metrics if metric.generated}
        assert None not in [value for name, value in session.metrics[0].items() if name not in written]
        said = any("does not work in bfloat16" in line for line in session.lines)
        assert said == (study.architecture.config().model_type == "deberta")


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_sounds_padded_alike_keep_their_own_masks(assign: Assign, tmp_path: Path) -> None:
    """The first ones fill the window, which would let one's mask pass for all."""
    names = [tiny_sound(tmp_path, i, i % 2) for i in range(24)]
    for i, path in enumerate(names):
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples[: len(samples) // 3] if i % 5 == 4 else samples, rate)
    rows = "".join(f"{path.name},{i % 2}\n" for i, path in enumerate(names))
    (tmp_path / "sounds.csv").write_text("audio,label\n" + rows)
    folder = ARCHITECTURES["hubert"].build(tmp_path / "model")
    spec = {"task": "audio-classification", "model": str(folder), "dataset": {"source": str(tmp_path / "sounds.csv")}}
    for depth in (1, 2, 3):
        work, warm = assign(params={"freeze_depth": depth, "max_length": 500}, spec=spec), ModelCache()
        opened = warm.open(work)
        model, _ = prepare(opened, work.params, 0)
        encoded = opened.encoded("train", 500)
        computer = Engine(model, opened.task, warm.micro_batch)
        plain = logits_of(computer, opened, encoded)
        computer.enable_shortcuts(opened, work.params, {"train": encoded}, session := Memory(tmp_path / f"s{depth}"))
        assert built(session)
        assert torch.allclose(logits_of(computer, opened, encoded), plain, atol=1e-4 * float(plain.abs().max()))
        computer.close()


@pytest.mark.parametrize("batching", [Batching.RIGHT, pytest.param(Batching.EQUAL, marks=pytest.mark.full)])
def test_of_sounds_of_different_lengths_the_frames_of_each_are_kept(
    assign: Assign, tmp_path: Path, batching: Batching
) -> None:
    sounds = [(f"{i}.wav", "bed" if i % 6 else "no no no no no no no no no no") for i in range(18)]
    for i, (name, text) in enumerate(sounds):
        soundfile.write(tmp_path / name, spoken(text, seed=i), RATE)
    (tmp_path / "sounds.csv").write_text("audio,text\n" + "".join(f"{name},{text}\n" for name, text in sounds))
    folder = ARCHITECTURES["hubert-ctc"].build(tmp_path / "model")
    dataset = {"source": str(tmp_path / "sounds.csv"), "validation": 0.3}
    spec = {"task": "automatic-speech-recognition", "model": str(folder), "dataset": dataset}
    for depth in (1, 3):
        opened = ModelCache().open(work := assign(params={"freeze_depth": depth}, spec=spec))
        opened.batch_as(batching)
        model, _ = prepare(opened, work.params, 0)
        encoded = opened.encoded("train", int(work.params["max_length"]))
        assert isinstance(encoded, EncodedSpeech)
        assert len(set(encoded.lengths)) > 3
        computer = Engine(model, opened.task, MicroBatch())
        batches = [piece for rows in (range(6), range(6, len(encoded))) for piece in pieces(encoded, rows, 6)]
        with torch.no_grad():
            plain = [computer.outputs(encoded, rows)[0]["logits"] for rows in batches]
            computer.enable_shortcuts(opened, work.params, {"train": encoded}, session := Memory(tmp_path / f"{depth}"))
            kept = [computer.outputs(encoded, rows)[0]["logits"] for rows in batches]
        computer.close()
        assert [split for _, split, _ in built(session)] == ["train"]
        for rows, mine, theirs in zip(batches, kept, plain, strict=True):
            assert mine.shape == theirs.shape
            for i, frames in enumerate(encoded.of("frames", rows)):
                assert torch.allclose(mine[i, :frames], theirs[i, :frames], atol=1e-4 * float(theirs.abs().max()))


def test_a_model_serves_two_tasks_in_one_process(tmp_path: Path, assign: Assign) -> None:
    warm, model = ModelCache(), ARCHITECTURES["bert"].build(tmp_path / "model")
    for task in ("text-classification", "token-classification"):
        data = tiny_data(task, tmp_path / task)
        spec = {"task": task, "model": str(model), "dataset": {"source": str(data)}}
        train(assign(params={"epochs": 1, "freeze_depth": 1}, spec=spec), Memory(tmp_path / f"s-{task}"), warm)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_setting_that_is_no_number_is_said(assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE_DISK", "4GB")
    session = Memory(tmp_path / "s")
    train(assign(params={"freeze_depth": 1, "epochs": 1}), session, ModelCache())
    assert "because LUTHIER_CACHE_DISK must be a number of bytes, not '4GB'" in session.lines[0]


CHILD = """
import sys
from pathlib import Path
from luthier.studies.protocol import Assignment
from tests.support.trials import Memory
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
work, folder = sys.argv[1:]
session = Memory(Path(folder))
session.log = lambda text: print(text, flush=True)
train(Assignment.model_validate_json(work), session, ModelCache())
"""


@pytest.fixture
def start(assign: Assign, tmp_path: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    running = []

    def run(folder: str) -> "subprocess.Popen[str]":
        work = assign(params={"freeze_depth": 2, "epochs": 1}).model_dump_json()
        command = [sys.executable, "-c", CHILD, work, str(tmp_path / folder)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.full
def test_two_workers_compute_each_prefix_once(start: Callable[[str], "subprocess.Popen[str]"]) -> None:
    said = [process.communicate(timeout=110)[0] for process in (start("1"), start("2"))]
    assert all("evaluation 1/1" in text for text in said)
    assert sorted(m[3] for text in said for m in BUILT.finditer(text)) == ["train", "validation"]


@pytest.mark.full
def test_a_worker_killed_while_it_computes_blocks_nobody_and_leaves_nothing(
    start: Callable[[str], "subprocess.Popen[str]"], own_cache: Path
) -> None:
    own_cache.mkdir()
    lock = subprocess.Popen(  # stands for a worker that computes what the other one waits for
        [sys.executable, "-c", HOLDER, str(own_cache)], stdout=subprocess.PIPE, text=True
    )
    assert lock.stdout is not None
    assert lock.stdout.readline() == "writing\n"
    os.kill(lock.pid, signal.SIGKILL)
    lock.communicate()
    assert len(names(own_cache)) == 1
    assert "evaluation 1/1" in start("1").communicate(timeout=110)[0]
    TieredFiles([Tier(own_cache, 10**6)]).build("z", 10**6 - 1, lambda path: None, lambda: None).close()
    assert names(own_cache) == {"z"}


HOLDER = """
import sys, time
from pathlib import Path
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix import cache
from luthier.trials.prefix.tiered_files import Tier, TieredFiles
def write(path):
    print("writing", flush=True)
    time.sleep(60)
TieredFiles([Tier(Path(sys.argv[1]), 10**6)]).build("half", 1000, write, lambda: None)
"""
