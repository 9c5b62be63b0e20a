"""Targets that are objects: a box and a class for each, any number in an image.

Classes are named by the data's own features, by COCO's `categories`, by `id2label.json` beside the table, or by the
objects themselves. Rows hold boxes in pixels of the upright image.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

from luthier.studies.dataset import Dataset
from luthier.studies.findings import Finding
from luthier.studies.strategy import Answering
from luthier.trials.data.box_checks import clipped, fit_as_corners, refuse_some_shares
from luthier.trials.data.box_findings import box_findings, two_forms_finding
from luthier.trials.data.boxes import EMPTY, RawCell, SizedObjects, WrongCell, bad_rows, read_objects
from luthier.trials.data.group_splits import LabelSet
from luthier.trials.data.images import read_image
from luthier.trials.data.mask_targets import NAMES, class_names
from luthier.trials.data.masks import image_size
from luthier.trials.data.media import named
from luthier.trials.data.media_columns import in_threads
from luthier.trials.data.media_paths import Item
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import NamedTargets
from luthier.trials.data.turned_images import turned_findings
from luthier.trials.errors import BadData


class Box(NamedTuple):
    """An object of an image.

    Attributes:
        label: Its class id.
        x: Its left edge, in pixels of the upright image.
        y: Its upper edge.
        width: Above 0.
        height: Above 0.
        crowd: It is many objects in one: it is not trained on, and what is found inside of it counts nowhere.
    """

    label: int
    x: float
    y: float
    width: float
    height: float
    crowd: bool


class BoxRow(NamedTuple):
    """The objects of an image.

    Attributes:
        size: Width and height of the image, upright.
        boxes: One for each object.
    """

    size: tuple[int, int]
    boxes: tuple[Box, ...]

    @property
    def labels(self) -> list[int]:
        """The class ids of its objects, ascending, each once."""
        return sorted({box.label for box in self.boxes})


@dataclass(frozen=True)
class BoxTargets(NamedTargets):
    """The objects of each image; a row's target is a `BoxRow`.

    Attributes:
        two_forms: No spec or format says what the numbers of boxes are, and all of them would do as corners too.
    """

    two_forms: bool = field(default=False, compare=False)
    roles: ClassVar[tuple[str, ...]] = ("objects",)

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return no object for each image. Raises BadData."""
        return [BoxRow(size, ()) for size in in_threads(_size, list(enumerate(columns["image"])))]

    @classmethod
    def check_misread(cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, str]) -> None:
        """Raise BadData where some boxes are shares of the sides, and others are pixels."""
        for table in tables.values():
            refuse_some_shares(table, _cells(table, columns["objects"]))

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read the objects, and hold their boxes against the images. Raises BadData."""
        column = columns["objects"]
        cells = {name: _cells(table, column) for name, table in tables.items()}
        names, ids = _classes(tables, cells, column)
        rows, two_forms = {}, set()
        for name, table in tables.items():
            sizes = in_threads(_size, list(enumerate(inputs[name]["image"])))
            boxes = clipped(table, cells[name], sizes)
            if any(boxes):
                two_forms.add(not _is_coco(table, column) and fit_as_corners(table, cells[name], sizes))
            rows[name] = [
                BoxRow(
                    size,
                    tuple(
                        Box(ids[one.category], *box, one.crowd) for one, box in zip(cell.objects, inside, strict=True)
                    ),
                )
                for size, cell, inside in zip(sizes, cells[name], boxes, strict=True)
            ]
        return cls(tuple(names), two_forms == {True}), dict(rows)

    def as_asked(self, dataset: Dataset, answering: Answering | None) -> Self:
        """Return the targets with what a spec says of the form of boxes."""
        return self if dataset.box_format is None else replace(self, two_forms=False)

    def counts(self, splits: Iterable[Sequence[Any]]) -> dict[str, int]:
        """Return label -> its objects."""
        found = Counter(box.label for rows in splits for row in rows for box in row.boxes)
        return {name: found[i] for i, name in enumerate(self.names)}

    def as_text(self, target: Any) -> str:
        """Return the objects of an image with their boxes."""
        boxes = (f"{self.names[b.label]} [{b.x:g}, {b.y:g}, {b.width:g}, {b.height:g}]" for b in target.boxes)
        return ", ".join(boxes) or "no objects"

    def strata(self, rows: Sequence[Any]) -> list[Hashable]:
        """Return each image's set of classes, so that each split gets its share of each."""
        return [LabelSet(row.labels) for row in rows]

    def findings(self, splits: Mapping[str, Sequence[Any]], declared: bool) -> Sequence[Finding]:
        """Return what is remarkable: objects in an image, rare classes, tiny boxes, doubled ones."""
        return [*([two_forms_finding(splits)] if self.two_forms else []), *box_findings(splits, self.names)]

    def input_findings(self, columns: Mapping[str, Sequence[Any]], rows: Sequence[Any]) -> Sequence[Finding]:
        """Return which images are turned, and their boxes with them."""
        return turned_findings(columns["image"], "boxes")

    def check_training(self, rows: Sequence[Any], table: Table) -> None:
        """Raise BadData when no training image holds an object."""
        if not any(not box.crowd for row in rows for box in row.boxes):
            text = f"{table.name}: no image to train on has an object, so there is nothing to learn; add boxes."
            raise BadData(text, *table.path)


def _is_coco(table: Table, column: str) -> bool:
    """Return whether a table's boxes come from COCO's json, whose format says what they are."""
    return any(isinstance(cell, SizedObjects) for cell in table.columns[column])


def _cells(table: Table, column: str) -> list[RawCell]:
    """Return the objects of each row. Raises BadData that names the rows that cannot be used."""
    found, wrong = [], []
    for row, cell in enumerate(table.columns[column]):
        try:
            found.append(read_objects(cell))
        except WrongCell as error:
            wrong.append(f"{table.where(row)}: column {column!r} {error}")
    if wrong:
        cure = f"An image without objects has {EMPTY}."
        raise bad_rows(table.name, table.path, wrong, table.rows, "rows cannot be used", cure)
    return found


def _classes(
    tables: Mapping[str, Table], cells: Mapping[str, Sequence[RawCell]], column: str
) -> tuple[list[str], dict[str | int, int]]:
    """Return the labels by class id, those that are declared or else those of the objects; and category -> class id.

    Raises:
        BadData: Categories are names and numbers, or lie beyond those that are declared.
    """
    found = {one.category for rows in cells.values() for cell in rows for one in cell.objects}
    texts, numbers = {c for c in found if isinstance(c, str)}, {c for c in found if isinstance(c, int)}
    train = tables["train"]
    if texts and numbers:
        said = f"categories are names ({min(texts)!r}) and numbers ({min(numbers)}); write all in one way."
        raise BadData(f"{train.name}: {said}", *train.path)
    declared = class_names(train, column, least=1)
    if not declared:
        categories: list[str | int] = [*sorted(texts), *sorted(numbers)]
        return list(map(str, categories)), {category: i for i, category in enumerate(categories)}
    ids: dict[str | int, int] = {}
    for i, label in enumerate(declared):
        ids[label] = ids[i] = i
    for name, table in tables.items():
        wrong = [
            f"{table.where(row)}: {one.category!r}"
            for row, cell in enumerate(cells[name])
            for one in cell.objects
            if one.category not in ids
        ]
        if wrong:
            cure = f"Add them there, or correct them; {NAMES} beside the table or COCO's categories name all classes."
            what = f"objects have a category that is not among the {len(declared)} that are named"
            raise bad_rows(table.name, table.path, wrong, sum(len(c.objects) for c in cells[name]), what, cure)
    return declared, ids


def _size(numbered: tuple[int, Item]) -> tuple[int, int]:
    """Return width and height of a row's upright image. Raises BadData where it cannot be read."""
    row, item = numbered
    found = image_size(item)
    if found is None:
        return read_image(item, named(item, row, "image")).size
    return found[1], found[0]
