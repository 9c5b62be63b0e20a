"""Findings about boxes: classes not trained, rare or nearly equal, images without objects, tiny and doubled boxes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.studies.findings import Finding, note, warning
from luthier.trials.data.label_findings import near_findings
from luthier.trials.data.media_tree import listed

TINY = 0.001
"""Share of an image's area below which a box is tiny: 8 by 8 pixels of 256 by 256."""
RARE = 10
"""Training objects below which a class is rare."""
_NAMED = 10


def box_findings(splits: Mapping[str, Sequence[Any]], names: Sequence[str]) -> list[Finding]:
    """Return what is remarkable about a study's boxes.

    Args:
        splits: Split name -> its rows, each a `BoxRow`.
        names: Class id -> label.
    """
    rows = [row for part in splits.values() for row in part]
    held = {split: Counter(box.label for row in part for box in row.boxes) for split, part in splits.items()}
    return [*_objects(rows), *_classes(held, names), *_sizes(rows), *_doubled(rows)]


def two_forms_finding(splits: Mapping[str, Sequence[Any]]) -> Finding:
    """Return the warning that boxes may be corners: nothing in the data says that they are not.

    Args:
        splits: Split name -> its rows, each a `BoxRow`.
    """
    box = next(box for part in splits.values() for row in part for box in row.boxes)
    count = sum(len(row.boxes) for part in splits.values() for row in part)
    numbers = ", ".join(f"{side:g}" for side in (box.x, box.y, box.width, box.height))
    text = f"All {count:,} boxes, as [{numbers}], lie in their images both as [x, y, width, height], which they are "
    text += "taken for, and as corners [left, upper, right, lower]."
    cure = "Say what they are: dataset.box_format: xyxy where they are corners, xywh where they are not."
    return warning("boxes-in-two-forms", text, cure, count)


def _objects(rows: Sequence[Any]) -> list[Finding]:
    """Return how many objects images have, and how many have none."""
    counts = sorted(len(row.boxes) for row in rows)
    total = sum(counts)
    middle = counts[len(counts) // 2]
    text = f"{total:,} objects in {len(rows):,} images: {counts[0]} to {counts[-1]} in each, mostly about {middle}."
    found = [note("objects-per-image", text, total)]
    if empty := counts.count(0):
        text = f"{empty:,} of {len(rows):,} images have no objects; that there is nothing in them is learned from them."
        found.append(note("images-without-objects", text, empty, cure="Remove those that nobody has looked at."))
    return found


def _classes(held: Mapping[str, Counter[int]], names: Sequence[str]) -> list[Finding]:
    """Return the classes that training lacks, or has little of, those that nothing is of, and nearly equal ones."""
    found: list[Finding] = []
    everywhere = sum(held.values(), Counter[int]())
    lacking = [name for i, name in enumerate(names) if everywhere[i] and not held["train"][i]]
    if lacking:
        text = f"No training image holds {listed(lacking, _NAMED)}, and others do: such objects cannot be found."
        cure = "Add training rows with these classes, or remove their boxes."
        found.append(warning("classes-not-trained", text, cure, len(lacking), lacking))
    rare = [f"{name} ({held['train'][i]})" for i, name in enumerate(names) if 0 < held["train"][i] < RARE]
    if rare:
        text = f"{len(rare):,} of {len(names):,} classes have fewer than {RARE} training objects: "
        cure = "Add objects of them, or take their scores as rough ones: each class counts alike in map."
        found.append(note("rare-classes", f"{text}{listed(rare, _NAMED)}.", len(rare), rare, cure))
    unused = [name for i, name in enumerate(names) if not everywhere[i]]
    if unused:
        text = f"{len(unused):,} of {len(names):,} classes have no object: {listed(unused, _NAMED)}."
        found.append(note("classes-without-objects", text, len(unused), unused))
    return [*found, *near_findings({name: everywhere[i] for i, name in enumerate(names) if everywhere[i]}, "objects")]


def _sizes(rows: Sequence[Any]) -> list[Finding]:
    """Return how many boxes are tiny."""
    shares = [box.width * box.height / (row.size[0] * row.size[1]) for row in rows for box in row.boxes]
    tiny = sum(share < TINY for share in shares)
    if not tiny:
        return []
    text = f"{tiny:,} of {len(shares):,} boxes cover less than {TINY:.1%} of their image."
    cure = "Models see images in a size of their own, where such objects may vanish: cut images into parts before."
    return [note("tiny-boxes", text, tiny, cure=cure)]


def _doubled(rows: Sequence[Any]) -> list[Finding]:
    """Return how many boxes stand twice in one image, with the same class."""
    doubled = sum(count - 1 for row in rows for count in Counter(row.boxes).values())
    if not doubled:
        return []
    text = f"{doubled:,} boxes stand twice in their image, with the same class: a model has to find the object twice."
    return [warning("doubled-boxes", text, "Remove all but one of each.", doubled)]
