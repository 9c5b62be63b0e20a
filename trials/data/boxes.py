"""Cells of a column of objects: a box and a category for each object of an image, as data sets write them.

`data.box_targets` reads a column with `read_objects`. A box is [x, y, width, height] in pixels of the upright image,
from its upper left corner, as COCO has it. What images are and what categories are called is not known here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from luthier.studies.syntax import json_fault
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

BOXES = ("bbox", "bboxes", "box", "boxes")
"""Names of the boxes of a cell, the usual one first."""
CATEGORIES = ("category", "categories", "category_id", "label", "labels")
"""Names of the categories of a cell, the usual one first."""
EMPTY = '{"bbox": [], "category": []}'
"""How a row says that nothing is in its image."""
_FORM = 'write {"bbox": [[x, y, width, height], ...], "category": [name or id, ...]}'
_SIDES = 4
_SHOWN = 80  # characters of a value in a message


class RawObject(NamedTuple):
    """An object as the data has it.

    Attributes:
        box: x, y, width and height.
        category: Its name, or its number.
        crowd: It is many objects in one box (`iscrowd`).
    """

    box: tuple[float, float, float, float]
    category: str | int
    crowd: bool


class RawCell(NamedTuple):
    """A cell as the data has it.

    Attributes:
        objects: Those of the image; none where there are none.
        size: Width and height of the image as the data states it; None where it does not.
        corners: Its boxes were written as corners.
    """

    objects: tuple[RawObject, ...]
    size: tuple[int, int] | None = None
    corners: bool = False


class SizedObjects(NamedTuple):
    """A cell of a file that states its images' sizes, as a reader of ours makes it; data of users cannot be one.

    Attributes:
        objects: What `read_objects` takes.
        size: Width and height of the image in pixels; None where the file does not state them.
    """

    objects: Any
    size: tuple[int, int] | None


class CornerObjects(NamedTuple):
    """A cell of data whose boxes are corners, as a spec says; data of users cannot be one.

    Attributes:
        objects: What `read_objects` takes, with [left, upper, right, lower] in the place of boxes.
    """

    objects: Any


class WrongCell(Exception):
    """A cell that cannot be used; the text is the end of a sentence, with the cure."""


def with_corners(tables: Mapping[str, Table], column: str) -> dict[str, Table]:
    """Return tables in which boxes are known to be corners."""
    return {
        name: replace(table, columns={**table.columns, column: list(map(CornerObjects, table.columns[column]))})
        for name, table in tables.items()
    }


def read_objects(cell: Any) -> RawCell:
    """Read the objects of one image: lists of boxes and categories, a list of objects, or either as JSON text.

    Further keys are passed over. The image's size is that of `SizedObjects`, never a key of the cell.

    Raises:
        WrongCell: It is nothing of that kind, or a box or a category is missing or impossible.
    """
    if isinstance(cell, SizedObjects):
        return RawCell(read_objects(cell.objects).objects, cell.size)
    if isinstance(cell, CornerObjects):
        found = read_objects(cell.objects)
        return RawCell(tuple(map(_from_corners, found.objects)), found.size, corners=True)
    if isinstance(cell, str) and cell.strip():
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError) as error:
            raise WrongCell(f"is no JSON ({json_fault(error)}); {_FORM}") from None
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        raise WrongCell(f"is empty; write {EMPTY} for an image without objects, or remove the row")
    boxes, categories, crowds = _columns(cell)
    if len(boxes) != len(categories):
        raise WrongCell(f"holds {len(boxes)} boxes and {len(categories)} categories; {_FORM}")
    if len(crowds) not in (0, len(boxes)):
        raise WrongCell(f"holds {len(boxes)} boxes and {len(crowds)} values of iscrowd; write one for each, or none")
    crowds = crowds or [0] * len(boxes)
    objects = [
        RawObject(_box(box, i), _category(category, i), _crowd(crowd, i))
        for i, (box, category, crowd) in enumerate(zip(boxes, categories, crowds, strict=True), 1)
    ]
    return RawCell(tuple(objects))


def _from_corners(one: RawObject) -> RawObject:
    """Return an object whose box was written as corners."""
    left, upper, right, lower = one.box
    return RawObject((left, upper, right - left, lower - upper), one.category, one.crowd)


def _columns(cell: Any) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Return boxes, categories and marks of crowds. Raises WrongCell."""
    if isinstance(cell, Mapping):
        boxes, categories = _named(cell, BOXES), _named(cell, CATEGORIES)
        crowds = cell.get("iscrowd") or []
        if not all(isinstance(values, list | tuple) for values in (boxes, categories, crowds)):
            raise WrongCell(f"holds one box or one category where a list is wanted; {_FORM}")
        return boxes, categories, crowds
    if isinstance(cell, list | tuple) and all(isinstance(one, Mapping) for one in cell):
        boxes = [_named(one, BOXES) for one in cell]
        return boxes, [_named(one, CATEGORIES) for one in cell], [one.get("iscrowd") or 0 for one in cell]
    raise WrongCell(f"holds {_shown(cell)}; {_FORM}")


def _named(cell: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the value of the first of these names. Raises WrongCell."""
    name = next((name for name in names if name in cell), None)
    if name is None:
        raise WrongCell(f"has no {names[0]!r}, only {', '.join(map(repr, cell)) or 'nothing'}; {_FORM}")
    return cell[name]


def _box(box: Any, number: int) -> tuple[float, float, float, float]:
    """Return x, y, width and height. Raises WrongCell."""
    if not isinstance(box, list | tuple) or len(box) != _SIDES:
        raise WrongCell(f"has {_shown(box)} as box {number}; write four numbers: x, y, width, height")
    if not all(isinstance(side, int | float) and not isinstance(side, bool) and math.isfinite(side) for side in box):
        raise WrongCell(f"has {_shown(box)} as box {number}, of which not all are numbers; correct or remove it")
    x, y, width, height = map(float, box)
    return x, y, width, height


def _category(category: Any, number: int) -> str | int:
    """Return a category's name or number. Raises WrongCell."""
    if isinstance(category, float) and category.is_integer():  # a column with gaps reads whole numbers as decimals
        category = int(category)
    if isinstance(category, str) and category.strip():
        return category.strip()
    if isinstance(category, int) and not isinstance(category, bool):
        return category
    raise WrongCell(f"has {_shown(category)} as category {number}; write a name, or a class id from 0 on")


def _crowd(mark: Any, number: int) -> bool:
    """Return whether a box is one of a crowd. Raises WrongCell."""
    if mark is None or (isinstance(mark, int | float) and mark in (0, 1)):
        return bool(mark)
    raise WrongCell(f"has {_shown(mark)} as iscrowd of box {number}; write 0 or 1")


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def bad_rows(name: str, path: Sequence[str], wrong: Sequence[str], total: int, what: str, cure: str) -> BadData:
    """Return the refusal of some rows.

    Args:
        name: The table's.
        path: The spec's path of the table.
        wrong: Each row's name with what is wrong.
        total: The rows or boxes that there are.
        what: What is counted, and what is wrong with it: "of 5 boxes lie outside of their image".
        cure: A sentence.
    """
    few = "; ".join(wrong[:10]) + (f"; and {len(wrong) - 10:,} more" if len(wrong) > 10 else "")
    return BadData(f"{name}: {len(wrong):,} of {total:,} {what}: {few}. {cure}", *path)
