"""Mean average precision equals that of COCO's official script, on random answers and on a bootstrap of the images."""

import contextlib
import dataclasses
import io
from typing import Any

import numpy
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from luthier.studies.wire import Metrics
from luthier.trials.data.box_targets import Box, BoxRow, BoxTargets
from luthier.trials.tasks.detections import (
    EDGES,
    LABELS,
    LOSS,
    SCORES,
    BoxStatistics,
    answered,
    box_scores,
    counted,
)
from luthier.trials.tasks.object_detection import ObjectDetection

SIDE = 64
CLASSES = 3


def _answers(draw: numpy.random.Generator, row: BoxRow, count: int) -> tuple[Any, Any, Any]:
    """Return class ids, scores and edges as shares of the sides: some near objects, some of equal scores."""
    places = draw.integers(0, SIDE // 2, (count, 2)).astype(float)
    sides = draw.integers(4, SIDE // 2, (count, 2)).astype(float)
    labels = draw.integers(0, CLASSES, count)
    for i in range(count):
        if row.boxes and draw.random() < 0.7:
            near = row.boxes[int(draw.integers(len(row.boxes)))]
            places[i] = near.x + draw.normal(0, 2), near.y + draw.normal(0, 2)
            sides[i] = near.width * draw.uniform(0.8, 1.2), near.height * draw.uniform(0.8, 1.2)
            labels[i] = near.label if draw.random() < 0.8 else labels[i]
    scores = draw.integers(1, 40, count) / 40
    return labels, scores, numpy.concatenate([places, places + sides], 1) / SIDE


def _row(draw: numpy.random.Generator) -> BoxRow:
    boxes = [
        Box(
            int(draw.integers(CLASSES - 1)),
            *draw.integers(0, SIDE // 2, 2).astype(float).tolist(),
            *draw.integers(6, SIDE // 2, 2).astype(float).tolist(),
            bool(draw.random() < 0.2),
        )
        for _ in range(int(draw.integers(0, 5)))
    ]
    return BoxRow((SIDE, SIDE), tuple(boxes))


def _statistics(rows: list[BoxRow], said: list[tuple[Any, Any, Any]]) -> BoxStatistics:
    most = max(len(labels) for labels, _, _ in said)
    shape = (len(rows), most)
    answers = {
        LABELS: torch.full(shape, -1),
        SCORES: torch.full(shape, torch.nan, dtype=torch.double),
        EDGES: torch.zeros((*shape, 4), dtype=torch.double),
    }
    for i, (labels, scores, edges) in enumerate(said):
        for name, values in ((LABELS, labels), (SCORES, scores), (EDGES, edges)):
            answers[name][i, : len(labels)] = torch.from_numpy(values)
    found = counted(answered(None, answers, rows), rows, CLASSES)
    return BoxStatistics({**found, LOSS: torch.zeros(len(rows))}, {})


def _official(rows: list[BoxRow], said: list[tuple[Any, Any, Any]]) -> Metrics:
    """Return what pycocotools says."""
    truth, answers = COCO(), []
    objects = [(i, box) for i, row in enumerate(rows) for box in row.boxes]
    truth.dataset = {
        "images": [{"id": i} for i in range(len(rows))],
        "categories": [{"id": i} for i in range(CLASSES)],
        "annotations": [
            {"id": number, "image_id": i, "category_id": b.label, "bbox": [b.x, b.y, b.width, b.height]}
            | {"area": b.width * b.height, "iscrowd": int(b.crowd)}
            for number, (i, b) in enumerate(objects, 1)
        ],
    }
    for i, (labels, scores, edges) in enumerate(said):
        for label, score, (x, y, right, lower) in zip(labels.tolist(), scores, edges * SIDE, strict=True):
            box = [x, y, right - x, lower - y]
            answers.append({"image_id": i, "category_id": label, "bbox": box, "score": float(numpy.float32(score))})
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        counting = COCOeval(truth, truth.loadRes(answers), "bbox")
        counting.evaluate()
        counting.accumulate()
        counting.summarize()
    names = {"map": 0, "map_50": 1, "map_75": 2, "mar_100": 8}
    return {name: float(counting.stats[i]) for name, i in names.items()}


@pytest.mark.parametrize("seed", range(6))
def test_it_is_that_of_the_official_script(seed: int) -> None:
    draw = numpy.random.default_rng(seed)
    rows = [_row(draw) for _ in range(25)]
    counts = [int(draw.integers(0, 12)) for _ in rows]
    if seed == 0:
        counts[3] = 350  # more than a hundred of a class
    said = [_answers(draw, row, count) for row, count in zip(rows, counts, strict=True)]
    statistics = _statistics(rows, said)
    found = box_scores(statistics.units)
    assert {name: found[name] for name in ("map", "map_50", "map_75", "mar_100")} == pytest.approx(
        _official(rows, said), abs=1e-9
    )
    assert 0.05 < (found["map"] or 0) < 0.95

    sample = torch.from_numpy(draw.integers(0, len(rows), len(rows)))
    twice = [[part[i] for i in sample.tolist()] for part in (rows, said)]
    resampled = box_scores(statistics.take(sample).units)
    assert resampled["map"] == pytest.approx(_official(*twice)["map"], abs=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["map", "map_50", "map_75", "mar_100", "loss"])
def test_many_samples_are_scored_as_each_alone(metric: str) -> None:
    """Also of two models whose answers are exchanged by rank, of which each place is in both."""
    draw = numpy.random.default_rng(3)
    rows = [_row(draw) for _ in range(30)]
    models = []
    for count in (9, 14):
        said = [_answers(draw, row, count) for row in rows]
        apart = [
            (labels, draw.permutation(10_000)[: len(labels)] / 10_000 + i, e) for i, (labels, _, e) in enumerate(said)
        ]
        units = _statistics(rows, apart).units
        units = {**units, SCORES: units[SCORES] / 30, LOSS: torch.from_numpy(draw.random(30))}
        models.append(BoxStatistics(units, {}))
    task, targets = ObjectDetection(), BoxTargets(("a", "b", "c"))
    samples = [torch.from_numpy(draw.integers(0, 30, size)) for size in (30, 30, 30, 1, 12)]
    alone = [task.score(metric, models[0].take(sample), targets) for sample in samples]
    assert task.sampled(metric, models[0], samples, targets) == pytest.approx(alone, abs=1e-12)
    assert len(set(alone)) > 3

    sides = [task.on_one_scale(metric, model) or model for model in models]
    both = sides[0].joined(sides[1])
    tossed = [torch.arange(30) + 30 * torch.from_numpy(draw.integers(0, 2, 30)) for _ in range(5)]
    exchanged = [task.score(metric, both.take(sample), targets) for sample in tossed]
    assert task.sampled(metric, both, tossed, targets) == pytest.approx(exchanged, abs=1e-12)


def test_samples_without_objects_have_no_score() -> None:
    draw = numpy.random.default_rng(0)
    rows = [BoxRow((SIDE, SIDE), ()), BoxRow((SIDE, SIDE), (Box(1, 2.0, 2.0, 30.0, 30.0, False),))]
    statistics = _statistics(rows, [_answers(draw, row, 5) for row in rows])
    samples = [torch.tensor([0, 0]), torch.tensor([1, 0])]
    for metric in ("map", "mar_100"):
        none, some = ObjectDetection().sampled(metric, statistics, samples, BoxTargets(("a", "b", "c")))
        assert none is None
        assert some == pytest.approx(box_scores(statistics.units)[metric])


def test_a_class_without_objects_counts_nowhere_and_no_object_at_all_is_no_number() -> None:
    nothing = BoxRow((SIDE, SIDE), ())
    said = [_answers(numpy.random.default_rng(0), nothing, 4)]
    found = box_scores(_statistics([nothing], said).units)
    assert found == {"loss": 0.0, "map": None, "map_50": None, "map_75": None, "mar_100": None}


def test_models_with_different_numbers_of_answers_are_joined() -> None:
    draw = numpy.random.default_rng(0)
    rows = [_row(draw) for _ in range(10)]
    few, many = ([_answers(draw, row, count) for row in rows] for count in (3, 9))
    one, two = _statistics(rows, few), _statistics(rows, many)
    both = one.joined(two)
    assert box_scores(both.take(torch.arange(10)).units) == box_scores(one.units)
    assert box_scores(both.take(torch.arange(10, 20)).units) == box_scores(two.units)


def test_places_give_the_scores_of_a_model_and_know_no_scale() -> None:
    draw = numpy.random.default_rng(1)
    rows = [_row(draw) for _ in range(20)]
    said = [_answers(draw, row, 12) for row in rows]
    plain = _statistics(rows, said)
    units = plain.units
    surer = dataclasses.replace(plain, units={**units, "scores": units["scores"].double() ** 3 / 7})
    one, other = (ObjectDetection().on_one_scale("map", statistics) for statistics in (plain, surer))
    assert one is not None
    assert other is not None
    assert box_scores(one.units) == box_scores(units)
    torch.testing.assert_close(one.units["scores"], other.units["scores"], equal_nan=True, rtol=0, atol=0)
    assert box_scores(surer.joined(plain).units) != box_scores(other.joined(one).units)
    assert ObjectDetection().on_one_scale("loss", plain) is None
