"""Targets that are masks: a class for each pixel of an image, from a file beside it.

Class ids are the masks' own: 0, 1, 2 and so on. Their names are in `id2label.json` beside the table, if there is one.
"""

import functools
import io
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy
from PIL import Image

from luthier.studies.findings import Finding
from luthier.trials.data.images import read_image
from luthier.trials.data.mask_findings import mask_findings
from luthier.trials.data.masks import IGNORED, image_size, read_mask
from luthier.trials.data.media import named
from luthier.trials.data.media_columns import in_threads
from luthier.trials.data.media_paths import Item
from luthier.trials.data.media_tree import listed
from luthier.trials.data.tabular import Table
from luthier.trials.data.targets import NamedTargets
from luthier.trials.data.turned_images import turned_findings
from luthier.trials.errors import BadData
from luthier.trials.paths import check_inside_roots, is_inside_roots

NAMES = "id2label.json"
"""The file beside a table, or a folder above, that names the classes: {"0": "road", "1": "sky"} or ["road", "sky"]."""
_NAMED = 10  # rows that a message names


class MaskRow(NamedTuple):
    """A row's mask.

    Attributes:
        item: Its file, or the file's bytes.
        size: Height and width.
        pixels: (class id, pixels of it) for each class that it holds, ascending.
    """

    item: Item
    size: tuple[int, int]
    pixels: tuple[tuple[int, int], ...]

    @property
    def classes(self) -> list[int]:
        """The ids of the classes that it holds, ascending."""
        return [i for i, _ in self.pixels]


@dataclass(frozen=True)
class MaskTargets(NamedTargets):
    """A class for each pixel; a row's target is a `MaskRow`."""

    roles: ClassVar[tuple[str, ...]] = ("mask",)

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return a mask of the first class for each image, as large as the image. Raises BadData."""
        images = (read_image(item, named(item, row, "image")) for row, item in enumerate(columns["image"]))
        return [_blank(image.height, image.width) for image in images]

    @classmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read the masks, whose files `data.media_columns` has located and tried. Raises BadData."""
        rows = {name: in_threads(_row, table.columns[columns["mask"]]) for name, table in tables.items()}
        for name, table in tables.items():
            _check_sizes(table, rows[name], inputs[name]["image"])
        named = class_names(tables["train"], columns["mask"])
        found = sorted({i for masks in rows.values() for mask in masks for i in mask.classes})
        if len(found) == 1 and not named:
            raise BadData(_single(tables["train"], found[0]), *tables["train"].path)
        if named:
            for name, table in tables.items():
                _check_ids(table, rows[name], named)
        return cls(tuple(named or map(str, range(found[-1] + 1)))), dict(rows)

    def counts(self, splits: Iterable[Sequence[Any]]) -> dict[str, int]:
        """Return label -> the images that hold it."""
        found = Counter(i for rows in splits for mask in rows for i in mask.classes)
        return {name: found[i] for i, name in enumerate(self.names)}

    def pixels(self, rows: Iterable[MaskRow]) -> list[int]:
        """Return by class id how many pixels of some rows' masks have it."""
        counts = [0] * len(self.names)
        for mask in rows:
            for i, count in mask.pixels:
                counts[i] += count
        return counts

    def as_text(self, target: Any) -> str:
        """Return the labels of a mask with the pixels of each."""
        return ", ".join(f"{self.names[i]} ({count:,} pixels)" for i, count in target.pixels)

    def strata(self, rows: Sequence[Any]) -> list[Hashable]:
        """Return the class of each row that the fewest rows hold."""
        images = Counter(i for mask in rows for i in mask.classes)
        return [min(mask.classes, key=lambda i: (images[i], i)) for mask in rows]

    def findings(self, splits: Mapping[str, Sequence[Any]], declared: bool) -> Sequence[Finding]:
        """Return what is remarkable: classes that train lacks or nobody holds, masks of several images."""
        held = {name: self.counts([rows]) for name, rows in splits.items()}
        items = Counter(mask.item for rows in splits.values() for mask in rows)
        return mask_findings(held, [str(item) for item, count in items.items() if count > 1 and isinstance(item, Path)])

    def input_findings(self, columns: Mapping[str, Sequence[Any]], rows: Sequence[Any]) -> Sequence[Finding]:
        """Return which images are turned, and their masks are not."""
        return turned_findings(columns["image"], "masks", [row.item for row in rows])

    def check_training(self, rows: Sequence[Any], table: Table) -> None:
        """Raise BadData when training masks hold one class only."""
        if len({i for mask in rows for i in mask.classes}) < 2:
            text = f"{table.name}: after the split the masks to train on hold fewer than two classes; add rows."
            raise BadData(text, *table.path)


def _row(item: Item) -> MaskRow:
    """Return a mask's classes and size. Raises BadData."""
    mask = read_mask(item, str(item) if isinstance(item, Path) else "A mask")
    counts = numpy.bincount(mask.ravel(), minlength=IGNORED + 1)[:IGNORED]
    found = tuple((int(i), int(counts[i])) for i in counts.nonzero()[0])
    height, width = mask.shape
    return MaskRow(item, (height, width), found)


@functools.lru_cache(maxsize=64)
def _blank(height: int, width: int) -> MaskRow:
    """Return a mask of the first class alone, as a file's bytes."""
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "png")
    return MaskRow(file.getvalue(), (height, width), ((0, height * width),))


def _check_sizes(table: Table, masks: Sequence[MaskRow], images: Sequence[Item]) -> None:
    """Raise BadData that names the rows whose mask has another size than the image."""
    wrong = []
    for row, (mask, image) in enumerate(zip(masks, images, strict=True)):
        size = image_size(image)
        if size is not None and size != mask.size:
            wrong.append(f"{table.where(row)}: the image has {_shown(size)}, its mask {_shown(mask.size)}")
    if wrong:
        text = f"{table.name}: {len(wrong):,} of {len(masks):,} masks are of another size than their image: "
        cure = "Check that each row names its own mask, and save it in the size of the upright image."
        raise BadData(f"{text}{listed(wrong, _NAMED)}. {cure}", *table.path)


def _shown(size: tuple[int, int]) -> str:
    return f"{size[1]} by {size[0]} pixels"


def _single(table: Table, only: int) -> str:
    """Return why masks with one class teach nothing."""
    text = f"{table.name}: the masks hold the class {only} only"
    if only == 0:
        text += f" (and {IGNORED}, which stands for pixels that do not count); write 0 and 1 for background and object"
    return f"{text}; two classes are needed."


def _check_ids(table: Table, masks: Sequence[MaskRow], names: Sequence[str]) -> None:
    """Raise BadData that names the rows with class ids that have no name."""
    wrong = [
        f"{table.where(row)}: {mask.classes[-1]}" for row, mask in enumerate(masks) if mask.classes[-1] >= len(names)
    ]
    if wrong:
        text = f"{table.name}: {len(wrong):,} masks hold class ids beyond the {len(names)} that {NAMES} names "
        cure = f"Name these classes there, or write {IGNORED} for pixels that do not count."
        raise BadData(f"{text}(0 to {len(names) - 1}): {listed(wrong, _NAMED)}. {cure}", *table.path)


def class_names(table: Table, column: str, least: int = 2) -> list[str]:
    """Return the names of the classes by id, from the table or `NAMES` beside it; empty where nothing names them.

    Args:
        table: Whose column it is.
        column: Of classes.
        least: The fewest classes that suffice.

    Raises:
        BadData: The file is not JSON of that kind, names two classes alike, or is a link that leads out of the roots.
    """
    if column in table.class_names:
        return list(table.class_names[column])
    places = [] if table.folder is None else [table.folder, table.folder.parent]
    allowed = (place / NAMES for place in places if is_inside_roots(place.resolve()))
    file = next((file for file in allowed if file.is_file()), None)
    if file is None:
        return []
    check_inside_roots(file.resolve(), str(file), *table.path)
    try:
        names = _by_id(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, AttributeError, TypeError, OSError, RecursionError):
        text = f'{file} does not name classes: write {{"0": "road", "1": "sky"}} or ["road", "sky"], ids from 0 to 254.'
        raise BadData(text, *table.path) from None
    if len(set(names)) < len(names) or len(names) < least:
        count = "two classes" if least > 1 else "a class"
        raise BadData(f"{file} must name {count} or more, each by a name of its own.", *table.path)
    return names


def _by_id(content: Any) -> list[str]:
    """Return the names of a parsed `NAMES`; an id between others that has no name is called by its number."""
    given = dict(enumerate(content)) if isinstance(content, list) else {int(i): name for i, name in content.items()}
    given.pop(IGNORED, None)
    texts = all(isinstance(name, str) and name.strip() for name in given.values())
    if not given or min(given) < 0 or max(given) > IGNORED or not texts:
        raise ValueError
    return [given.get(i, str(i)) for i in range(max(given) + 1)]
