"""Questions are answered from long contexts, learned, packed, used by the card's code, and compared."""

import csv
import gzip
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from luthier.studies.promotion import Promote, judge
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import Comparison
from luthier.studies.wire import FileRef
from luthier.trials.data.answer_targets import AnswerTargets
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs import replicates
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.predictions import Predictions, count_gained
from luthier.trials.jobs.train import train
from luthier.trials.tasks.answer_spans import SpanLoss, best_spans
from luthier.trials.tasks.encoded_questions import EncodedQuestions
from luthier.trials.tasks.question_answering import STATISTICS, QuestionAnswering
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.windows import in_windows
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.archives import unpack_tar
from tests.support.tiny import tiny_model
from tests.support.tiny_questions import as_squad, tiny_questions
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


def squad(folder: Path, rows: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """Write questions as SQuAD has them, and return what a spec says of them."""
    folder.mkdir(exist_ok=True)
    (folder / "squad.json").write_text(json.dumps(as_squad(rows)))
    source = {"source": str(folder / "squad.json"), "validation": 0.2, "test": 0.2}
    return {"spec": {"task": "question-answering", "dataset": source, "semantics": 2, **spec}}


@pytest.mark.full
def test_it_learns_is_packed_used_and_compared(assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = squad(tmp_path / "data", tiny_questions(180))
    warm = ModelCache()
    found = inspect(assign(AssignmentKind.INSPECT, **given), Memory(tmp_path / "inspection"), warm)
    assert found.majority is not None
    assert found.majority.validation["f1"] == pytest.approx(1 / 3, abs=0.02)
    assert found.majority.validation["no_answer_accuracy"] == 1
    told = {finding.code: finding for finding in found.findings}
    assert told["inputs-cut"].severity == "note"
    assert "windows that overlap: nothing of it is lost" in told["inputs-cut"].message
    assert "the longest question has " in told["inputs-cut"].message
    models = []
    for side, epochs in (("champion", 1), ("challenger", 5)):
        session, work = Memory(tmp_path / side), given | {"params": {"epochs": epochs, "learning_rate": 3e-3}}
        assert train(assign(**work), session, warm).status == "complete"
        evaluation = evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **work), session, warm)
        assert evaluation.test is not None
        assert any("its predictions for 36 test rows are the recorded ones" in line for line in session.lines)
        models.append((evaluation.test, session.folder / "model.tar.gz"))
    (before, first), (after, second) = models
    assert after["f1"] is not None
    assert before["f1"] is not None
    assert after["f1"] > max(0.9, before["f1"] + 0.1)
    unpack_tar(second, tmp_path / "unpacked")
    monkeypatch.chdir(tmp_path / "unpacked")
    _the_card_answers()

    session = Memory(tmp_path / "comparison")
    refs = {}
    for side, path in (("champion", first), ("challenger", second)):
        refs[side] = file_ref(path.rename(session.folder / f"{side}.tar.gz"))
    compared = compare(assign(AssignmentKind.COMPARE, **refs, **given), session, ModelCache())
    assert compared.independent
    assert compared.challenger == pytest.approx(after, abs=1e-6)
    assert len(compared.resampled) == 1000
    assert compared.gained > compared.lost
    with gzip.open(session.folder / compared.predictions.name, "rt") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == compared.examples == 36
    right = sum(line["challenger"] == line["label"] for line in lines)
    assert right == round(36 * (after["exact_match"] or 0))
    assert any(line["label"] == line["challenger"] == "" for line in lines)


def _the_card_answers() -> None:
    """The code on the card runs, and reads to the end of a context much longer than the model's inputs."""
    names: dict[str, Any] = {}
    exec(Path("README.md").read_text().split("```python\n")[1].split("```")[0], names)
    long = "the meal was a day and " * 40

    def answer(question: str, context: str) -> Any:
        return names["answer_question"](question, context, names["tokenizer"], names["model"])

    far, none = answer("that day", f"{long}very lovely"), answer("that day", f"{long}rude")
    assert far["answer"].endswith("lovely")
    assert f"{long}very lovely"[far["start"] :] == far["answer"]
    assert (none["answer"], none["start"]) == ("", -1)
    assert answer("that day " * 200, "this film is great")["answer"] in "this film is great"


@pytest.mark.full
def test_a_spec_says_how_contexts_are_read_and_answers_picked(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options act in scores and on the card, and stay those of the model in a comparison with another one."""
    options = {"doc_stride": 7, "max_answer_length": 1, "null_score_diff_threshold": 100.0}
    plain = squad(tmp_path / "data", tiny_questions(120))
    given = squad(tmp_path / "data", tiny_questions(120), answering=options)
    warm, scores, refs = ModelCache(), {}, {}
    work = Memory(tmp_path / "comparison")
    for side, spec in (("champion", given), ("challenger", plain)):
        session, fields = Memory(tmp_path / side), spec | {"params": {"epochs": 3, "learning_rate": 3e-3}}
        train(assign(**fields), session, warm)
        found = evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **fields), session, warm)
        assert found.test is not None
        assert any("its predictions for 24 test rows are the recorded ones" in line for line in session.lines)
        scores[side] = found.test
        refs[side] = file_ref((session.folder / "model.tar.gz").rename(work.folder / f"{side}.tar.gz"))
    assert scores["champion"]["no_answer_accuracy"] == 0, "no score is 100 above another: each question gets an answer"
    compared = compare(assign(AssignmentKind.COMPARE, **refs, **plain), work, ModelCache())
    assert compared.champion == pytest.approx(scores["champion"], abs=1e-6)
    assert compared.challenger == pytest.approx(scores["challenger"], abs=1e-6)
    with gzip.open(work.folder / compared.predictions.name, "rt") as file:
        assert all(len(line["champion"].split()) == 1 for line in csv.DictReader(file))

    unpack_tar(work.folder / "champion.tar.gz", tmp_path / "unpacked")
    monkeypatch.chdir(tmp_path / "unpacked")
    about = json.loads(Path("config.json").read_text())
    assert {name: about[name] for name in options} == options
    names: dict[str, Any] = {}
    exec(Path("README.md").read_text().split("```python\n")[1].split("```")[0], names)
    said = names["answer_question"]("that day", "the meal was very lovely", names["tokenizer"], names["model"])
    assert len(said["answer"].split()) == 1


def test_windows_share_the_tokens_of_the_stride(assign: Assign, tmp_path: Path) -> None:
    fields = squad(tmp_path / "data", tiny_questions(40), answering={"doc_stride": 7})
    opened = ModelCache().open(assign(**fields))
    encoded = opened.encoded("train", 48)
    assert isinstance(encoded, EncodedQuestions)
    shared = set()
    for a, b in zip(encoded.row_offsets, encoded.row_offsets[1:], strict=False):
        for row in range(a, b - 1):
            before, after = ({tuple(place) for place in encoded.places[i].tolist()} for i in (row, row + 1))
            shared.add(len(before & after))
    assert shared == {7}


def test_the_same_scores_with_and_without_the_cache(assign: Assign, tmp_path: Path) -> None:
    """The cut keeps what a window's own tokens were; the first token alone would not do."""
    given = squad(tmp_path / "data", tiny_questions(60))
    opened = ModelCache().open(assign(**given))
    validation = opened.encoded("validation", 64)
    opened.backbone.freeze(1)
    engine = Engine(opened.pretrained.model, opened.task, MicroBatch())
    plain = engine.evaluate(validation, opened.data.targets)
    params = assign(**given, params={"freeze_depth": 1}).params
    session = Memory(tmp_path / "session")
    engine.enable_shortcuts(opened, params, {"validation": validation}, session)
    assert engine._prefix is not None, session.lines
    assert engine.shortcut.first_token is None
    assert engine.shortcut.unpadded
    cached = engine.evaluate(validation, opened.data.targets)
    engine.close()
    assert torch.equal(cached.units["start"], plain.units["start"])
    assert torch.allclose(cached.units["loss"], plain.units["loss"], rtol=1e-5)


def test_questions_that_all_have_answers_get_some_and_have_no_constant(assign: Assign, tmp_path: Path) -> None:
    given = squad(tmp_path / "data", tiny_questions(40, answered=True))
    warm = ModelCache()
    found = inspect(assign(AssignmentKind.INSPECT, **given), Memory(tmp_path / "inspection"), warm)
    assert found.majority is None
    assert "no_answer_accuracy" in next(f.message for f in found.findings if f.code == "metrics-not-measured")
    opened = warm.open(assign(**given))
    encoded = opened.encoded("train", 64)
    statistics = Engine(opened.pretrained.model, opened.task, MicroBatch()).evaluate(encoded, opened.data.targets)
    assert opened.scores(statistics)["no_answer_accuracy"] is None
    assert all(opened.task.said(statistics, encoded, opened.data.targets))

    objective = squad(tmp_path / "data", tiny_questions(40, answered=True), objective={"metric": "no_answer_accuracy"})
    with pytest.raises(BadData, match="no_answer_accuracy cannot be measured"):
        inspect(assign(AssignmentKind.INSPECT, **objective), Memory(tmp_path / "inspection"), warm)


def test_windows_hold_every_token_and_every_answer(assign: Assign, tmp_path: Path) -> None:
    rows = tiny_questions(48, seed=4)
    rows[0]["question"] = "what " * 100  # longer than a window
    words = ["so"] * 150
    long = {"id": "x", "question": "all", "context": " ".join(words), "answers": {"text": [], "answer_start": []}}
    answer = " ".join(words[10:100])  # longer than two windows overlap
    long["answers"] = {"text": [answer], "answer_start": [30]}
    opened = ModelCache().open(assign(**squad(tmp_path / "data", [*rows, long])))
    split = opened.data.splits["train"]
    for length in (8, 16, 40, 64):
        encoded = opened.task.encode(opened.pretrained, split, length)
        assert isinstance(encoded, EncodedQuestions)
        assert max(encoded.lengths) <= length
        for question, context in enumerate(split.columns["context"]):
            windows = range(encoded.row_offsets[question], encoded.row_offsets[question + 1])
            read = {c for row in windows for a, b in encoded.places[row].tolist() for c in range(a, b)}
            assert {i for i, letter in enumerate(context) if letter != " "} <= read
            starts, ends, nulls = ([encoded.targets[n][row] for row in windows] for n in ("start", "end", "null"))
            answers = split.targets[question]
            told = [
                slice(*encoded.characters(row, start, end))
                for row, start, end, null in zip(windows, starts, ends, nulls, strict=True)
                if start != null
            ]
            assert bool(told) == bool(answers), "an answer is in some window, if only in part"
            if answers and len(answers[0][1]) < 30 and length > 16:
                assert {context[place] for place in told} == {answers[0][1]}


@pytest.mark.parametrize("padded_left", [False, True])
def test_the_best_span_is_the_best_of_all_legal_ones(padded_left: bool) -> None:
    draw = random.Random(3)
    lengths = [9, 60, 47]
    width = 64
    logits = {name: torch.randn(3, width, generator=torch.Generator().manual_seed(n)) for n, name in
              enumerate(("start_logits", "end_logits"))}  # fmt: skip
    padding = [width - length if padded_left else 0 for length in lengths]
    first = [draw.randint(1, 5) for _ in lengths]
    targets = {
        "first": torch.tensor(first),
        "last": torch.tensor([length - 2 for length in lengths]),
        "null": torch.zeros(3, dtype=torch.long),
        "start": torch.tensor(first),
        "end": torch.tensor(first) + 2,
        "length": torch.tensor(lengths),
        "padding": torch.tensor(padding),
        "longest_answer": torch.tensor(7),
    }
    found = QuestionAnswering().answers(logits, targets)
    for row, length in enumerate(lengths):
        start, end = (
            logits[name][row, padding[row] : padding[row] + length] for name in ("start_logits", "end_logits")
        )
        legal = sorted(
            (float(start[a] + end[b]), a, b)
            for a in range(first[row], length - 1)
            for b in range(a, min(a + 7, length - 1))
        )
        assert float(found["score"][row]) == pytest.approx(legal[-1][0])
        assert (int(found["start"][row]), int(found["end"][row])) == legal[-1][1:]
        assert float(found["rival"][row]) == pytest.approx(legal[-2][0])
        assert float(found["null"][row]) == pytest.approx(float(start[0] + end[0]))
        loss = (torch.nn.functional.cross_entropy(start, targets["start"][row])
                + torch.nn.functional.cross_entropy(end, targets["end"][row])) / 2  # fmt: skip
        assert float(found["loss"][row]) == pytest.approx(float(loss), rel=1e-5)


def test_a_row_without_context_has_no_span() -> None:
    logits = torch.randn(1, 5)
    targets = {name: torch.tensor([value]) for name, value in (("first", 3), ("last", 2), ("null", 0))}
    targets["longest_answer"] = torch.tensor(30)
    assert float(best_spans(logits, logits, targets)["score"]) == -math.inf


def test_the_loss_is_that_of_transformers(assign: Assign, tmp_path: Path) -> None:
    opened = ModelCache().open(assign(**squad(tmp_path / "data", tiny_questions(40))))
    encoded = opened.encoded("train", 64)
    rows = [row for row in range(len(encoded)) if encoded.lengths[row] == encoded.longest][:4]
    model = opened.pretrained.model.eval()  # type: ignore[no-untyped-call]
    targets = opened.task.collate_targets(encoded, rows)
    with torch.no_grad():
        theirs = model(
            **opened.task.collate(encoded, rows), start_positions=targets["start"], end_positions=targets["end"]
        )
    outputs = {name: getattr(theirs, name) for name in opened.task.outputs}
    loss = SpanLoss()
    mine = loss.total(outputs, targets) / loss.weight(targets)
    assert float(mine) == pytest.approx(float(theirs.loss), rel=1e-5)


@pytest.mark.full
def test_a_slow_tokenizer_is_refused(assign: Assign, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    for file in model.glob("*token*"):
        file.unlink()
    transformers.CanineTokenizer().save_pretrained(model)
    with pytest.raises(BadData, match="cannot say where in a text a token stands"):
        ModelCache().open(assign(**squad(tmp_path / "data", tiny_questions(20), model=str(model))))


def test_a_trained_head_is_kept(assign: Assign, tmp_path: Path) -> None:
    """A checkpoint that answers questions already is tuned further."""
    torch.manual_seed(0)
    folder = tiny_model(tmp_path / "model")
    own = transformers.AutoModelForQuestionAnswering.from_pretrained(folder)
    own.save_pretrained(folder)
    opened = ModelCache().open(assign(**squad(tmp_path / "data", tiny_questions(20), model=str(folder))))
    assert not opened.pretrained.fresh
    model = opened.pretrained.reset(5)
    assert torch.equal(model.qa_outputs.weight, own.qa_outputs.weight)


def test_a_tokenizer_that_drops_a_whole_context_still_gives_a_row(assign: Assign, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    rows = tiny_questions(20)
    rows[3] |= {"context": "\u200b\u200b", "answers": {"text": [], "answer_start": []}}
    opened = ModelCache().open(assign(**squad(tmp_path / "data", rows, model=str(model))))
    splits = [opened.encoded(name, 64) for name in opened.data.splits]
    engine = Engine(opened.pretrained.model, opened.task, MicroBatch())
    for encoded in splits:
        found = engine.evaluate(encoded, opened.data.targets)
        assert len(found) == len(encoded.example_offsets) - 1


@pytest.mark.full
@pytest.mark.parametrize("metric", ["f1", "exact_match"])
def test_an_equal_challenger_is_seldom_promoted(metric: str, assign: Assign, monkeypatch: pytest.MonkeyPatch) -> None:
    """A/A: two models that are equally good on fresh test splits; at a confidence of 95 % one in twenty is promoted."""
    monkeypatch.setattr(replicates, "REPLICATES", 200)
    task, targets = QuestionAnswering(), AnswerTargets(unanswerable=True)
    work = assign(spec={"task": task.name, "objective": {"metric": metric}, "semantics": 2})
    draw = torch.Generator().manual_seed(1)
    promoted, runs, questions = 0, 120, 120
    for run in range(runs):
        f1 = torch.rand(2, questions, generator=draw, dtype=torch.double)
        f1 = torch.where(f1 < 0.3, 0.0, torch.where(f1 > 0.5, 1.0, f1))  # most answers are right or wrong as a whole
        same = torch.rand(questions, generator=draw) < 0.7
        f1[1, same] = f1[0, same]
        plain = torch.ones(questions, dtype=torch.double)
        sides = []
        for scores in f1:
            columns = dict.fromkeys(STATISTICS, plain) | {"f1": scores, "exact_match": (scores == 1).double()}
            sides.append(Predictions(task, targets, None, Statistics(columns, {})))  # type: ignore[arg-type]
        drawn = replicates.Replicates(work.model_copy(update={"seed": run}), Memory(Path()), *sides, None).draw()  # type: ignore[arg-type]
        champion, challenger = (side.scores() for side in sides)
        found = Comparison(
            examples=questions,
            excluded=0,
            labelled_units=questions,
            independent=True,
            champion=champion,
            challenger=challenger,
            gained=count_gained(*sides),
            lost=count_gained(*reversed(sides)),
            predictions=FileRef(name="none", sha256="0" * 64, bytes=0),
            exchanged=drawn[0] if metric == "f1" else [],
            resampled=drawn[1] if metric == "f1" else [],
        )
        promoted += judge(found, work.spec.objective, Promote(confidence=0.95), binary=metric == "exact_match").promoted
    assert promoted <= 0.05 * runs + 2 * (0.05 * 0.95 * runs) ** 0.5
    assert metric == "exact_match" or promoted > 0, "the test is not blind"


def test_a_long_question_is_cut_only_where_its_context_does_not_fit(assign: Assign, tmp_path: Path) -> None:
    opened = ModelCache().open(assign(**squad(tmp_path / "data", tiny_questions(20))))
    tokenizer = opened.pretrained.processor
    short, long = "this film is great", "the film was a day and " * 20
    whole, *cut = in_windows([" that" * 45, *[" that" * 200] * 2], [short, short, long], tokenizer, 64)["input_ids"]
    that = tokenizer.convert_tokens_to_ids("that")
    assert whole.count(that) == 45
    assert {row.count(that) for row in cut[:1]} == {57}, "all that its context leaves"
    assert {row.count(that) for row in cut[1:]} == {30}
