"""How people use a packed model that finds objects: transformers' pipeline, and the same pipeline as a check.

The check compares the answers with the highest scores, `COMPARED` of each image. A value that rounding may change is
left out: the order of two answers with nearly the same score, and an edge next to a whole number, as the pipeline cuts
edges to whole pixels.
"""

import json
from collections.abc import Sequence
from typing import Any

from luthier.trials.tasks.usage import HERE, PROCESSORS, Answer, Usage, Value, Values

COMPARED = 10
NEAR_SCORES, NEAR_PIXELS = 1e-3, 0.02
NAMES = ("score", "label", "xmin", "ymin", "xmax", "ymax")
THRESHOLD = 0.5
"""The score from which an answer is shown, on cards and in files of predictions: the pipeline's own."""


def found(model: Any, folder: str, tag: str, kind: str) -> Answer:
    """Return the function that answers as the pipeline does at a threshold of 0; arguments as those of `piped`."""
    import transformers

    make: Any = transformers.pipeline
    processor = getattr(transformers, PROCESSORS[kind]).from_pretrained(folder, trust_remote_code=False)
    detect = make(tag, model=model, **{kind: processor})

    def answer(image: Any) -> list[Values]:
        best = sorted(detect(image, threshold=0.0), key=lambda one: -one["score"])[:COMPARED]
        return [{"score": one["score"], "label": one["label"], **one["box"]} for one in best]

    return answer


def recorded(scores: Sequence[float], labels: Sequence[str], edges: Sequence[Sequence[float]]) -> list[list[Value]]:
    """Return the values of the same answers from a model in memory; None: not compared.

    Args:
        scores: Of an image's answers.
        labels: Their labels.
        edges: Left, upper, right and lower edge of each, in pixels.
    """
    order = sorted((i for i in range(len(scores)) if scores[i] > 0), key=lambda i: -scores[i])
    values: list[list[Value]] = []
    for rank, i in enumerate(order[:COMPARED]):
        beside = [scores[order[k]] for k in (rank - 1, rank + 1) if 0 <= k < len(order)]
        if any(abs(score - scores[i]) < NEAR_SCORES * scores[i] for score in beside):
            values.append([scores[i], *[None] * 5])
            continue
        places = [None if abs(edge - round(edge)) < NEAR_PIXELS else float(int(edge)) for edge in edges[i]]
        values.append([scores[i], labels[i], *places])
    return values


def usage_of_detector(tag: str, processor: Any) -> Usage:
    """Return how people use a packed model that finds objects.

    Args:
        tag: The task's name.
        processor: The image processor that is saved with the model.
    """
    return Usage(
        tag=tag,
        auto="AutoModelForObjectDetection",
        kind="image_processor",
        processor=processor,
        names=NAMES,
        code=f"""\
from transformers import pipeline

detect = pipeline({tag!r}, model={HERE!r})
for found in detect("image.png", threshold={THRESHOLD}):
    print(found["label"], found["score"], found["box"])  # edges in pixels of the upright image
""",
        notes=(
            f"A score is the probability of a class; map was measured with all answers, whatever their score, and "
            f"{THRESHOLD} is a threshold for people.",
            "Images of 16 bits a channel were scaled to 8 bits: do so before, as the pipeline clips them.",
        ),
        function=found,
    )


def objects_as_json(labels: Sequence[str], boxes: Sequence[Sequence[float]], scores: Sequence[float] = ()) -> str:
    """Return objects as JSON: label, box (x, y, width, height in pixels) and score."""
    found: list[dict[str, Any]] = [
        {"label": label, "bbox": [round(side, 2) for side in box]} for label, box in zip(labels, boxes, strict=True)
    ]
    for one, score in zip(found, scores, strict=False):
        one["score"] = round(score, 4)
    return json.dumps(found, ensure_ascii=False)
