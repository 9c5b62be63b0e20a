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
_YOLO = "YOLO's x and y are centres: take away half of width and height first."
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
    are_corners = any(cell.corners for cell in cells)
    empty = [shown for shown, box, _ in _each(table, cells, sizes) if box[2] <= 0 or box[3] <= 0]
    if empty:
        cure = "Width and height are above 0, in pixels: correct or remove these boxes."
        if are_corners:
            cure = "Of corners right is above left, and lower above upper (dataset.box_format: xyxy): correct or "
            cure += "remove these boxes, or leave box_format out where they are [x, y, width, height]."
        raise bad_rows(table.name, table.path, empty, total, "boxes have no area", cure)
    _check_form(table, cells, sizes, total)
    wrong = [
        f"{shown}, and the image has {size[0]} by {size[1]} pixels"
        for shown, box, size in _each(table, cells, sizes)
        if not _inside(box, size)
    ]
    if wrong:
        form = "[left, upper, right, lower] (dataset.box_format: xyxy)" if are_corners else "[x, y, width, height]"
        cure = (
            f"A box is {form} in pixels of the upright image (turned as its EXIF data says): correct "
            "it, or check that each row names its own image."
        )
        raise bad_rows(table.name, table.path, wrong, total, "boxes lie outside of their image", cure)
    return [[_cut(found.box, size) for found in cell.objects] for cell, size in zip(cells, sizes, strict=True)]


def _each(table: Table, cells: Sequence[RawCell], sizes: Sequence[Size]) -> Iterator[tuple[str, Box, Size]]:
    """Yield each box with its name and what was written, and its image's size."""
    for row, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
        for number, found in enumerate(cell.objects, 1):
            x, y, width, height = found.box
            written = (x, y, x + width, y + height) if cell.corners else found.box
            yield f"{table.where(row)}: box {number} is {_shown(written)}", found.box, size


def refuse_some_shares(table: Table, cells: Sequence[RawCell]) -> None:
    """Raise BadData that names the boxes that are shares of their image's sides, where others are pixels.

    A box of whole numbers is one of a pixel. Where all are shares, `clipped` says so with the way to pixels.
    """
    boxes = list(_each(table, cells, [(0, 0)] * len(cells)))
    wrong = [shown for shown, box, _ in boxes if _is_share(box)]
    if wrong and len(wrong) < len(boxes):
        cure = "In these, multiply x and width by the image's width, y and height by its height. " + _YOLO
        what = "boxes are shares of the sides among others in pixels"
        raise bad_rows(table.name, table.path, wrong, len(boxes), what, cure)


def _is_share(box: Box) -> bool:
    """Return whether a box lies within a pixel, and is not all of it."""
    x, y, width, height = box
    return min(x, y) >= 0 and width > 0 and height > 0 and max(box) <= 1 and not all(side.is_integer() for side in box)


def fit_as_corners(table: Table, cells: Sequence[RawCell], sizes: Sequence[Size]) -> bool:
    """Return whether each box that is read as [x, y, width, height] would be one as corners too; not without boxes."""
    pairs = [(box, size) for _, box, size in _each(table, cells, sizes)]
    return bool(pairs) and not any(cell.corners for cell in cells) and all(map(_fits_as_corners, pairs))


def _fits_as_corners(pair: tuple[Box, Size]) -> bool:
    """Return whether four numbers are corners within an image."""
    (left, upper, right, lower), (width, height) = pair
    return left < right <= width + ROUNDING and upper < lower <= height + ROUNDING


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
        raise BadData(f"{text}{cure}{_YOLO}", *table.path)
    outside = sum(not _inside(box, size) for box, size in pairs)
    if outside and fit_as_corners(table, cells, sizes):
        text = f"{table.name}: {outside:,} of {total:,} boxes would lie outside of their image, and all of them fit as "
        text += "corners [left, upper, right, lower]; write [left, upper, right - left, lower - upper]. Or say that "
        raise BadData(f"{text}they are corners with dataset.box_format: xyxy.", *table.path)


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
