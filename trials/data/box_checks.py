"""Boxes held against their images: those that lie outside, have no area, or are written in another form.

`data.box_targets` calls `clipped` with all rows of a table. Forms are told by all boxes together: one box outside of
its image is a mistake, all of them are corners, or parts of the image's sides.
"""

from collections.abc import Iterator, Sequence

from luthier.trials.data.boxes import RawCell, bad_rows
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

ROUNDING = 1.0
"""Pixels that a box may reach outside of its image, as tools round; it is cut off at the edge."""
Box = tuple[float, float, float, float]
Size = tuple[int, int]


def clipped(table: Table, cells: Sequence[RawCell], sizes: Sequence[Size]) -> list[list[Box]]:
    """Return the boxes of each row, without what reaches outside of the image by a rounding.

    Args:
        table: For messages.
        cells: Of each row.
        sizes: Width and height of each row's upright image, in pixels.

    Raises:
        BadData: The sizes are not those that the data states, or boxes have another form, lie outside, or are empty.
    """
    _check_sizes(table, cells, sizes)
    total = sum(len(cell.objects) for cell in cells)
    empty = [f"{place} is {_shown(box)}" for place, box, _ in _each(table, cells, sizes) if box[2] <= 0 or box[3] <= 0]
    if empty:
        cure = "Width and height are above 0, in pixels: correct or remove these boxes."
        raise bad_rows(table.name, table.path, empty, total, "boxes have no area", cure)
    _check_form(table, cells, sizes, total)
    wrong = [
        f"{place} is {_shown(box)}, and the image has {size[0]} by {size[1]} pixels"
        for place, box, size in _each(table, cells, sizes)
        if not _inside(box, size)
    ]
    if wrong:
        cure = (
            "A box is [x, y, width, height] in pixels of the upright image (turned as its EXIF data says): correct "
            "it, or check that each row names its own image."
        )
        raise bad_rows(table.name, table.path, wrong, total, "boxes lie outside of their image", cure)
    return [[_cut(found.box, size) for found in cell.objects] for cell, size in zip(cells, sizes, strict=True)]


def _each(table: Table, cells: Sequence[RawCell], sizes: Sequence[Size]) -> Iterator[tuple[str, Box, Size]]:
    """Yield each box with its name and its image's size."""
    for row, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
        for number, found in enumerate(cell.objects, 1):
            yield f"{table.where(row)}: box {number}", found.box, size


def _inside(box: Box, size: Size) -> bool:
    """Return whether a box lies in its image, and some of it is more than the rounding."""
    x, y, width, height = box
    reaches = x >= -ROUNDING and y >= -ROUNDING and x + width <= size[0] + ROUNDING and y + height <= size[1] + ROUNDING
    cut = _cut(box, size)
    return reaches and cut[2] > 0 and cut[3] > 0


def _cut(box: Box, size: Size) -> Box:
    """Return the part of a box that lies in the image."""
    x, y, width, height = box
    left, upper = max(0.0, x), max(0.0, y)
    return left, upper, min(x + width, float(size[0])) - left, min(y + height, float(size[1])) - upper


def _check_form(table: Table, cells: Sequence[RawCell], sizes: Sequence[Size], total: int) -> None:
    """Raise BadData where the boxes are corners, or parts of the image's sides."""
    pairs = [(box, size) for _, box, size in _each(table, cells, sizes)]
    if not pairs:
        return
    if all(0 <= side <= 1 for box, _ in pairs for side in box) and any(min(size) > 1 for _, size in pairs):
        text = f"{table.name}: all numbers of the {total:,} boxes lie between 0 and 1, so they are parts of the sides; "
        cure = "multiply x and width by the image's width, y and height by its height. "
        yolo = "YOLO's x and y are centres: take away half of width and height first."
        raise BadData(f"{text}{cure}{yolo}", *table.path)
    corners = [box[0] < box[2] and box[1] < box[3] for box, _ in pairs]
    within = [box[2] <= size[0] + ROUNDING and box[3] <= size[1] + ROUNDING for box, size in pairs]
    outside = sum(not _inside(box, size) for box, size in pairs)
    if outside and all(corners) and all(within):
        text = f"{table.name}: {outside:,} of {total:,} boxes would lie outside of their image, and all of them fit as "
        raise BadData(
            f"{text}corners [left, upper, right, lower]; write [left, upper, right - left, lower - upper].", *table.path
        )


def _check_sizes(table: Table, cells: Sequence[RawCell], sizes: Sequence[Size]) -> None:
    """Raise BadData that names the rows whose image is of another size than the data states."""
    wrong, turned = [], 0
    for row, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
        if cell.size is not None and cell.size != size:
            turned += cell.size == (size[1], size[0])
            wrong.append(f"{table.where(row)}: {cell.size[0]} by {cell.size[1]} stated, {size[0]} by {size[1]} found")
    if not wrong:
        return
    cure = "Name the images that the boxes were drawn on, or scale boxes, width and height with them."
    if turned == len(wrong):
        cure = (
            "Images are turned as their EXIF data says, and boxes belong to the upright image: turn the boxes, width "
            "and height with it, or save the images without that entry."
        )
    raise bad_rows(table.name, table.path, wrong, len(cells), "images are not of the size that is stated", cure)


def _shown(box: Box) -> str:
    return f"[{', '.join(f'{side:g}' for side in box)}]"
