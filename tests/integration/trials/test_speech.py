"""Speech recognition in every job: tones are learned as letters, packed, used by transformers alone, and compared."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import transformers as hf

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.wire import Metrics
from luthier.trials.files import file_ref
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.model_cache import ModelCache
from tests.support.archives import unpack_tar
from tests.support.tiny_speech import EASY_WORDS, RATE, SPEECH_ARCHITECTURES, learner, spoken, tiny_speech
from tests.support.trials import Memory

TASK = "automatic-speech-recognition"
Assign = Callable[..., Assignment]


def winner(assign: Assign, given: dict[str, Any], folder: Path, warm: ModelCache) -> tuple[Metrics, Path, Memory]:
    """Train and evaluate, and return the test scores, the packed model and the session of the evaluation."""
    session = Memory(folder)
    found = inspect(assign(AssignmentKind.INSPECT, **given), Memory(folder / "inspection"), warm)
    assert train(assign(inspection=found, **given), session, warm).status == "complete"
    work = assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), inspection=found, **given)
    evaluation = evaluate(work, session, warm)
    assert evaluation.test is not None
    return evaluation.test, session.folder / "model.tar.gz", session


@pytest.mark.full
def test_tones_are_learned_packed_used_and_compared(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, source = learner(tmp_path / "model"), tiny_speech(tmp_path / "data", 120, EASY_WORDS)
    dataset = {"source": str(source), "validation": 0.15, "test": 0.2}
    spec = {"task": TASK, "model": str(model), "dataset": dataset, "semantics": 2}
    warm, sides = ModelCache(), {}
    for side, epochs in (("champion", 1), ("challenger", 11)):
        params = {"learning_rate": 1e-2, "batch_size": 4, "epochs": epochs}
        sides[side] = winner(assign, {"spec": spec, "params": params}, tmp_path / side, warm)
    before, after = sides["champion"][0], sides["challenger"][0]
    assert before["wer"] == pytest.approx(1.0, abs=0.05), "a model that writes nothing has every word wrong"
    assert after["wer"] is not None
    assert after["wer"] < 0.2
    assert "recorded ones" in sides["challenger"][2].lines[-1]

    folder = tmp_path / "unpacked"
    unpack_tar(sides["challenger"][1], folder)
    assert json.loads((folder / "vocab.json").read_text()) == {"[PAD]": 0, "[UNK]": 1, "|": 2, "a": 3, "b": 4, "n": 5}
    assert json.loads((folder / "luthier.json").read_text())["letters"] == ["a", "b", "n"]
    recognise = hf.pipeline(TASK, model=str(folder))
    texts = ["ban aba", "nab", "an ba"]
    assert [recognise(spoken(text, seed=500))["text"] for text in texts] == texts

    soundfile.write(folder / "sound.wav", spoken(texts[0], seed=500), RATE)
    code = (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(folder)
    exec(compile(code, "card", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == texts[0], "the code on its card"

    session = Memory(tmp_path / "comparison")
    refs = {side: file_ref(path.rename(session.folder / f"{side}.tar.gz")) for side, (_, path, _) in sides.items()}
    compared = compare(assign(AssignmentKind.COMPARE, spec=spec, **refs), session, ModelCache())
    assert compared.champion["wer"] == before["wer"]
    assert compared.challenger["wer"] == after["wer"]
    assert (compared.gained, compared.lost, len(compared.exchanged)) == (0, 0, 1000)
    assert max(compared.exchanged) < compared.champion["wer"] - compared.challenger["wer"]
    with gzip.open(session.folder / compared.predictions.name, "rt") as file:
        lines = list(csv.DictReader(file))
    assert sum(line["label"] == line["challenger"] for line in lines) > 0.8 * compared.examples
    assert {line["champion"] for line in lines} <= {"", *"abn"}, "it has hardly learned to write"


def test_a_packed_model_goes_on_with_its_own_vocabulary(assign: Assign, tmp_path: Path) -> None:
    """Its head knows which letter each output is; today's data may have fewer letters, in another order."""
    source = tiny_speech(tmp_path / "data", 24)
    spec = {"task": TASK, "model": str(learner(tmp_path / "model")), "dataset": {"source": str(source), "test": 0.2}}
    params = {"learning_rate": 1e-2, "batch_size": 4, "epochs": 1}
    _, archive, _ = winner(assign, {"spec": spec, "params": params}, tmp_path / "first", ModelCache())
    unpack_tar(archive, tmp_path / "winner")
    fewer = tiny_speech(tmp_path / "fewer", 24, EASY_WORDS)
    again = spec | {"model": str(tmp_path / "winner"), "dataset": {"source": str(fewer), "test": 0.2}}
    opened = ModelCache().open(assign(spec=again))
    assert opened.data.targets.about["letters"] == ["a", "b", "n"]
    vocabulary = json.loads((tmp_path / "winner" / "vocab.json").read_text())
    assert opened.pretrained.processor.tokenizer.get_vocab() == vocabulary
    assert opened.pretrained.fresh == frozenset(), "its head is kept"
    letters = opened.encoded("train", 0).targets["letters"]
    texts = opened.data.splits["train"].targets
    assert letters[0] == [vocabulary["|" if letter == " " else letter] for letter in texts[0]]


def test_the_loss_of_a_batch_is_the_models_own(assign: Assign, tmp_path: Path) -> None:
    """As transformers computes it from the same labels, with its sum over the batch."""
    source = tiny_speech(tmp_path / "data", 24)
    model = SPEECH_ARCHITECTURES["hubert-ctc"].build(tmp_path / "model")
    opened = ModelCache().open(assign(spec={"task": TASK, "model": str(model), "dataset": {"source": str(source)}}))
    encoded, rows = opened.encoded("train", 0), [3, 0, 7]
    inputs, targets = opened.task.collate(encoded, rows), opened.task.collate_targets(encoded, rows)
    loss = opened.loss(encoded, assign(spec={"task": TASK}).params)
    labels = targets["labels"].masked_fill(
        torch.arange(targets["labels"].shape[1]) >= targets["label_lengths"][:, None], -100
    )
    own = opened.pretrained.model.eval()  # type: ignore[no-untyped-call]
    own.config.ctc_loss_reduction = "sum"
    with torch.no_grad():
        result = own(**inputs, labels=labels)
        mine = loss.total({"logits": result.logits}, targets)
    assert float(mine) == pytest.approx(float(result.loss), rel=1e-5)
    assert loss.weight(targets) == sum(len(opened.data.splits["train"].targets[row]) for row in rows)


@pytest.mark.full
def test_a_whisper_learns_its_tokens_and_writes_them(assign: Assign, tmp_path: Path) -> None:
    source = tiny_speech(tmp_path / "data", 40, EASY_WORDS)
    model = SPEECH_ARCHITECTURES["whisper-speech"].build(tmp_path / "model")
    dataset = {"source": str(source), "validation": 0.2, "test": 0.2}
    spec = {"task": TASK, "model": str(model), "dataset": dataset, "semantics": 2, "generation": {"num_beams": 2}}
    given = {"spec": spec, "params": {"learning_rate": 1e-2, "batch_size": 8, "epochs": 8}}
    test, archive, session = winner(assign, given, tmp_path / "winner", ModelCache())
    assert test["wer"] is not None
    losses = [metrics["loss"] for metrics in session.metrics]
    assert losses[-1] is not None
    assert losses[0] is not None
    assert losses[-1] < 0.6 * losses[0]
    unpack_tar(archive, tmp_path / "unpacked")
    settings = json.loads((tmp_path / "unpacked" / "generation_config.json").read_text())
    assert (settings["num_beams"], settings["max_new_tokens"]) == (2, 30), "30: what its decoder has places for"


@pytest.mark.parametrize("beams", [1, pytest.param(3, marks=pytest.mark.full)])
def test_a_whisper_is_asked_for_texts_only_where_they_are_needed(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beams: int
) -> None:
    source = tiny_speech(tmp_path / "data", 24)
    model = SPEECH_ARCHITECTURES["whisper-speech"].build(tmp_path / "model")
    dataset, generation = {"source": str(source), "validation": 0.5}, {"rows": 3, "num_beams": beams}
    spec = {"task": TASK, "model": str(model), "dataset": dataset, "generation": generation}
    written: list[int] = []
    code = type(task_code(TASK))
    generate = code.generate

    def counted(self: Any, model: Any, encoded: Any, rows: Any, generation: Any) -> torch.Tensor:
        written.extend(rows)
        assert generation.num_beams == beams
        assert generation.max_new_tokens == 224, "the task's own number"
        return generate(self, model, encoded, rows, generation)

    monkeypatch.setattr(code, "generate", counted)
    for metric, count in (("wer", 3), ("loss", 0)):
        session = Memory(tmp_path / metric)
        train(assign(spec=spec | {"objective": {"metric": metric}}, params={"epochs": 1}), session, ModelCache())
        assert (session.metrics[0]["wer"] is None) == (count == 0)
        assert len(written) == count
        written.clear()
