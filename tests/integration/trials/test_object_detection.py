"""Detection: boxes follow their images, the loss is the model's, and a winner's boxes are those of its pipeline."""

import csv
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers as hf
from PIL import Image

from luthier.studies.paired_tests import randomization
from luthier.studies.promotion import Promote
from luthier.studies.protocol import Assignment, AssignmentKind, Checkpoint
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.trials.data.augmentation import Change, draw_change
from luthier.trials.data.box_targets import Box, BoxRow, BoxTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.files import file_ref
from luthier.trials.jobs import replicates
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.packed_model import NAME
from luthier.trials.jobs.predictions import Predictions
from luthier.trials.jobs.replicates import Replicates
from luthier.trials.jobs.train import train
from luthier.trials.tasks.detection_usage import recorded
from luthier.trials.tasks.detections import (
    EDGES,
    LABELS,
    LOGITS,
    LOSS,
    PLACES,
    SCORES,
    BoxStatistics,
    OwnLoss,
    answered,
    box_scores,
    counted,
    criterion,
    padded,
)
from luthier.trials.tasks.object_detection import ObjectDetection
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES
from tests.support.archives import unpack_tar
from tests.support.tiny_boxes import write_boxes
from tests.support.trials import Memory

task = ObjectDetection()
NOTHING = Encoded(columns={}, padding={}, targets={}, lengths=[], longest=0)


def _work(assign: Callable[..., Assignment], tmp_path: Path, **fields: Any) -> Callable[..., Assignment]:
    source = tmp_path / "data"
    if not source.exists():
        source.mkdir()
        write_boxes(source, 40)
        ARCHITECTURES["yolos"].build(tmp_path / "model")
    dataset = {"source": str(source / "data.jsonl"), "validation": 0.2, "test": 0.3}
    spec = {"task": "object-detection", "model": str(tmp_path / "model"), "dataset": dataset, **fields}

    def make(kind: AssignmentKind = AssignmentKind.TRAIN, epochs: int = 2, **more: Any) -> Assignment:
        params = {"freeze_depth": 0, "epochs": epochs, "batch_size": 4, "learning_rate": 3e-3}
        return assign(kind, spec=spec, params=params, **more)

    return make


def _targets(*rows: list[tuple[int, list[float]]]) -> dict[str, torch.Tensor]:
    return padded([([label for label, _ in row], [place for _, place in row]) for row in rows])


@pytest.mark.parametrize("name", ["yolos", pytest.param("deformable-detr", marks=pytest.mark.full)])
def test_the_loss_is_the_models_own_and_pieces_add_up(name: str, tmp_path: Path) -> None:
    folder = ARCHITECTURES[name].build(tmp_path)
    model = hf.AutoModelForObjectDetection.from_pretrained(folder, num_labels=3).eval()
    images = torch.randn(3, 3, 32, 32)
    targets = _targets([(1, [0.4, 0.4, 0.2, 0.3]), (2, [0.6, 0.7, 0.5, 0.5])], [], [(0, [0.5, 0.5, 1.0, 1.0])])
    labels = [
        {"class_labels": classes[classes >= 0], "boxes": boxes[classes >= 0]}
        for classes, boxes in zip(targets["classes"], targets["boxes"], strict=True)
    ]
    loss = OwnLoss(criterion(model))
    with torch.no_grad():
        result = model(pixel_values=images)
        alone = [float(model(pixel_values=images[i : i + 1], labels=labels[i : i + 1]).loss) for i in range(3)]
    outputs = {LOGITS: result.logits, PLACES: result.pred_boxes}
    assert float(loss.total(outputs, targets)) == pytest.approx(sum(alone), rel=1e-4)
    assert loss.weight(targets) == 3
    broken = {**outputs, LOGITS: outputs[LOGITS] * torch.nan}
    assert torch.isnan(loss.total(broken, targets)), "a model that has diverged is seen, not met as an error"


def test_boxes_are_changed_with_their_image() -> None:
    """A white rectangle on black is where its box says, after any cut and mirroring."""
    pixels = numpy.zeros((80, 100, 3), numpy.uint8)
    pixels[20:50, 30:70] = 255
    random.seed(0)
    kept = 0
    for _ in range(40):
        change = draw_change((100, 80), "standard", (200, 160), Image.Resampling.NEAREST, (0.3, 1.0))
        white = numpy.argwhere(numpy.asarray(change(Image.fromarray(pixels)))[..., 0] > 0)
        (place,) = change.boxes([(0.5, 35 / 80, 0.4, 30 / 80)], 0.4)
        if place is None:
            continue
        kept += 1
        (top, left), (lower, right) = white.min(0), white.max(0) + 1
        x, y, w, h = place
        expected = [(x - w / 2) * 200, (y - h / 2) * 160, (x + w / 2) * 200, (y + h / 2) * 160]
        assert [left, top, right, lower] == pytest.approx(expected, abs=2.5)
    assert kept > 20
    half = Change((100, 80), (50, 0, 100, 80), True, lambda image: image)
    assert half.boxes([(0.5, 0.5, 0.5, 0.5), (0.2, 0.5, 0.2, 0.2)], 0.4) == [(0.75, 0.5, 0.5, 0.5), None]


def test_pieces_of_an_augmented_batch_add_up(assign: Callable[..., Assignment], tmp_path: Path) -> None:
    make = _work(assign, tmp_path, augmentation="standard")
    opened = ModelCache().open(make())
    encoded = opened.task.encode_augmented(opened.pretrained, opened.data.splits["train"], "standard", 64)
    model = opened.pretrained.model.eval()  # type: ignore[no-untyped-call]
    loss, totals = opened.loss(encoded, make().params), []
    for size in (4, 1):
        random.seed(1)
        micro_batch = MicroBatch()
        micro_batch.lower(size)
        totals.append(float(Engine(model, opened.task, micro_batch, loss).gradient(encoded, [3, 0, 3, 1])))
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_a_model_of_other_classes_is_compared_by_label() -> None:
    own, today = BoxTargets(("sky", "road")), BoxTargets(("road", "tree", "sky"))
    logits = torch.tensor([[[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]]])  # sky, road, no object
    places = torch.tensor([[[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]]])
    answers = task.translated({LOGITS: logits, PLACES: places}, own, today)
    rows = [BoxRow((10, 10), (Box(2, 0, 0, 10, 10, False), Box(0, 2.5, 2.5, 5, 5, False)))]
    found = answered(hf.YolosImageProcessor(), answers, rows)
    assert found[LABELS][0, :2].tolist() == [2, 0]
    assert torch.allclose(found[SCORES][0, :2], logits.softmax(-1).amax(-1)[0])
    units = {**counted(found, rows, 3), LOSS: torch.full((1,), torch.nan)}
    assert box_scores(units) == pytest.approx(
        {"map": 1.0, "map_50": 1.0, "map_75": 1.0, "mar_100": 1.0, "loss": None}, abs=1e-12
    )
    fewer = task.translated({LOGITS: logits, PLACES: places}, own, BoxTargets(("road",)))[LOGITS]
    assert torch.allclose(fewer.softmax(-1)[..., 0], logits.softmax(-1)[..., 1]), "what it says of others is no object"


def test_answers_that_rounding_changes_are_not_compared() -> None:
    scores, labels = [0.2, 0.9, 0.5, 0.50001], ["a", "b", "c", "d"]
    edges = [[1.5, 2.5, 3.999, 4.5]] * 4
    best, *near, last = recorded(scores, labels, edges)
    assert best == [0.9, "b", 1.0, 2.0, None, 4.0]
    assert near == [[0.50001, *[None] * 5], [0.5, *[None] * 5]]
    assert last[0] == 0.2


@pytest.mark.full
def test_a_winner_answers_in_its_pipeline_and_is_compared(assign: Callable[..., Assignment], tmp_path: Path) -> None:
    make, warm = _work(assign, tmp_path, semantics=NEWEST_SEMANTICS), ModelCache()
    found = inspect(make(AssignmentKind.INSPECT), Memory(tmp_path / "inspection"), warm)
    assert found.label_names == ["anger", "joy"]
    sessions, tests = {}, {}
    for side, epochs in (("champion", 1), ("challenger", 2)):
        session = Memory(tmp_path / side)
        assert train(make(epochs=epochs), session, warm).status == "complete"
        best = Checkpoint(best=file_ref(session.named("best")))
        evaluation = evaluate(make(AssignmentKind.EVALUATE, epochs=epochs, checkpoint=best), session, warm)
        assert evaluation.test is not None
        sessions[side], tests[side] = session, evaluation.test
    assert any("predictions for 12 test rows are the recorded ones" in line for line in sessions["challenger"].lines)

    folder = tmp_path / "winner"
    unpack_tar(sessions["challenger"].folder / NAME, folder)
    assert 'detect("image.png", threshold=0.5)' in (folder / "README.md").read_text()
    detect = hf.pipeline("object-detection", model=str(folder))
    rows = warm.open(make()).data.splits["test"]
    answers = detect(str(rows.columns["image"][0]), threshold=0.0)
    assert len(answers) == 6
    assert {answer["label"] for answer in answers} <= {"anger", "joy"}

    session = Memory(tmp_path / "comparison")
    refs = {}
    for side, path in ((side, sessions[side].folder / NAME) for side in sessions):
        refs[side] = file_ref(path.rename(session.folder / f"{side}.tar.gz"))
    compared = compare(make(AssignmentKind.COMPARE, **refs), session, ModelCache())
    assert compared.challenger["map"] == pytest.approx(tests["challenger"]["map"], abs=1e-6)
    assert compared.challenger["loss"] == pytest.approx(tests["challenger"]["loss"], rel=1e-5)
    assert (compared.examples, len(compared.exchanged), len(compared.resampled)) == (12, 1000, 1000)
    with gzip.open(session.folder / compared.predictions.name, "rt") as file:
        lines = list(csv.DictReader(file))
    assert [len(json.loads(line["label"])) for line in lines] == [len(row.boxes) for row in rows.targets]
    assert all(one["score"] >= 0.5 for line in lines for one in json.loads(line["challenger"]))


def _promoted(assign: Callable[..., Assignment], folder: Path, runs: int, misses: tuple[float, float]) -> float:
    """Return the share of runs in which a challenger is promoted; each model misses about such shares of objects."""
    won = 0
    spec = {"task": "object-detection", "dataset": {"source": "none"}, "semantics": NEWEST_SEMANTICS}
    for run in range(runs):
        draw = numpy.random.default_rng(run)
        rows = [
            BoxRow((100, 100), tuple(Box(int(draw.integers(2)), 30 * k, 20, 20, 20, False) for k in range(held)))
            for held in draw.integers(1, 4, 40).tolist()
        ]
        models = []
        for miss in misses:
            answers = {
                LABELS: torch.full((40, 3), -1),
                SCORES: torch.full((40, 3), torch.nan),
                EDGES: torch.zeros(40, 3, 4),
            }
            for i, row in enumerate(rows):
                for k, box in enumerate(row.boxes):
                    wrong = draw.random() < miss
                    off = draw.normal(0, 1.5, 4) + (10 if wrong else 0)
                    answers[LABELS][i, k] = box.label
                    answers[SCORES][i, k] = draw.beta(2, 3) if wrong else draw.beta(3, 2)
                    edges = numpy.array([box.x, box.y, box.x + box.width, box.y + box.height]) + off
                    answers[EDGES][i, k] = torch.from_numpy(edges / 100)
            units = {**counted(answered(None, answers, rows), rows, 2), LOSS: torch.zeros(40)}
            models.append(Predictions(task, BoxTargets(("a", "b")), NOTHING, BoxStatistics(units, {})))
        drawn = Replicates(assign(spec=spec, seed=run), Memory(folder), models[0], models[1], None).draw()
        champion, challenger = (model.scores()["map"] or 0.0 for model in models)
        test = randomization(challenger - champion, *drawn, Promote().confidence)
        won += test.p_value <= 1 - Promote().confidence
    return won / runs


@pytest.mark.full
def test_an_equal_challenger_is_promoted_in_at_most_five_percent_of_runs(
    assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicates, "REPLICATES", 19)
    share = _promoted(assign, tmp_path, 100, (0.3, 0.3))
    assert share <= 0.05 + 2 * (0.05 * 0.95 / 100) ** 0.5, "two standard deviations of the share of 100 runs"


def test_a_better_challenger_is_promoted(
    assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicates, "REPLICATES", 39)
    assert _promoted(assign, tmp_path, 3, (0.6, 0.2)) == 1
