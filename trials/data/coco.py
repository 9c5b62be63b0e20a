"""COCO's JSON of boxes as rows: one for each image, with the columns image and objects.

`data.records` asks it about every JSON object. Categories become names, in the order of their ids, so that files of
several splits agree. Images are looked for beside the file, and where COCO's own folders have them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from luthier.trials.data.boxes import SizedObjects
from luthier.trials.data.media_tree import listed
from luthier.trials.data.tabular import Table
from luthier.trials.data.text_files import TextFile

COLUMNS = ("image", "objects")
_PARTS = ("images", "annotations", "categories")
_UNNAMED = ' names no categories; write them as "categories": [{"id": 1, "name": "dog"}].'
_IMAGES = "images"
_KEYS = ("bbox", "category", "iscrowd")
_TRIED = 10  # images by whose names their folder is found
_PREFIXES = ("instances_", "annotations_", "_annotations", "labels_")  # before a split's name, in a file's name


def is_coco(value: Any, selection: set[str]) -> bool:
    """Return whether a JSON object is COCO's, and the columns that are asked for are those of its rows."""
    return _has_lists(value, selection, _PARTS)


def check_categories(file: TextFile, value: Any, selection: set[str]) -> None:
    """Raise BadData where a JSON object is COCO's but for its categories."""
    if "objects" in selection and _has_lists(value, selection, _PARTS[:2]):
        raise file.refuse(_UNNAMED)


def _has_lists(value: Any, selection: set[str], names: Sequence[str]) -> bool:
    return isinstance(value, dict) and selection <= set(COLUMNS) and all(isinstance(value.get(n), list) for n in names)


def coco_table(file: TextFile, value: Mapping[str, Any], folder: Path) -> Table:
    """Return the images of a COCO file with their objects.

    Args:
        file: For messages.
        value: Its content, which `is_coco`.
        folder: The file's.

    Raises:
        BadData: A part is missing, an id stands twice, or an annotation is of no image or no category.
    """
    names = _categories(file, value["categories"])
    images = _images(file, value["images"])
    objects: dict[Any, list[dict[str, Any]]] = {number: [] for number in images}
    for annotation in value["annotations"]:
        number, found = _object(file, annotation, names)
        if number not in objects:
            raise file.refuse(
                f", annotation {annotation.get('id')!r}: its image {number!r} is not among the images; add it there, "
                "or remove the annotation."
            )
        objects[number].append(found)
    start = _start(folder, file.name, [image["file_name"] for image in images.values()])
    cells = [
        SizedObjects({key: [one[key] for one in found] for key in _KEYS}, _size(images[number]))
        for number, found in objects.items()
    ]
    rows = [f"image {number} ({image['file_name']})" for number, image in images.items()]
    files = [start + image["file_name"] for image in images.values()]
    columns = {"image": files, "objects": cells}
    labels = {"objects": list(names.values())}
    return Table(file.name, file.path, list(COLUMNS), columns, len(rows), labels, rows_named=rows)


def _categories(file: TextFile, categories: Sequence[Any]) -> dict[Any, str]:
    """Return id -> name, in the order of the ids. Raises BadData."""
    found: dict[Any, str] = {}
    for number, category in enumerate(categories, 1):
        name = category.get("name") if isinstance(category, dict) else None
        if not isinstance(name, str) or not name.strip() or not isinstance(category.get("id"), int):
            raise file.refuse(f', category {number}: has no id or no name; write {{"id": 1, "name": "dog"}}.')
        if category["id"] in found or name.strip() in found.values():
            raise file.refuse(f", category {number}: the id {category['id']} or the name {name!r} stands twice.")
        found[category["id"]] = name.strip()
    if not found:
        raise file.refuse(_UNNAMED)
    return dict(sorted(found.items()))


def _images(file: TextFile, images: Sequence[Any]) -> dict[Any, dict[str, Any]]:
    """Return id -> image, in the file's order. Raises BadData."""
    found: dict[Any, dict[str, Any]] = {}
    for number, image in enumerate(images, 1):
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not name.strip() or not isinstance(image.get("id"), int | str):
            text = f', image {number}: has no id or no file_name; write {{"id": 1, "file_name": "1.jpg"}}.'
            raise file.refuse(text)
        if image["id"] in found:
            other = found[image["id"]]["file_name"]
            text = f": the images {other} and {name} have the same id, {image['id']!r}; number them anew, "
            raise file.refuse(text + "with their annotations.")
        found[image["id"]] = image
    doubled = [name for name, count in Counter(image["file_name"] for image in found.values()).items() if count > 1]
    if doubled:
        text = f": {len(doubled):,} files stand twice among the images: {listed(doubled)}; "
        raise file.refuse(text + "give their boxes to one of each.")
    return found


def _object(file: TextFile, annotation: Any, names: Mapping[Any, str]) -> tuple[Any, dict[str, Any]]:
    """Return an annotation's image and its object. Raises BadData."""
    if not isinstance(annotation, dict) or not isinstance(annotation.get("image_id"), int | str):
        raise file.refuse(f": an annotation has no image_id: {str(annotation)[:80]}; write it, or remove it.")
    place = f", annotation {annotation.get('id')!r}"
    if "bbox" not in annotation:
        raise file.refuse(f"{place}: has no bbox; write [x, y, width, height], or remove it.")
    category = annotation.get("category_id")
    if not isinstance(category, int) or category not in names:
        shown = listed([f"{number} ({name})" for number, name in names.items()])
        raise file.refuse(f"{place}: its category_id {category!r} is none of the categories, {shown}; correct it.")
    crowd = annotation.get("iscrowd") or 0
    return annotation["image_id"], {"bbox": annotation["bbox"], "category": names[category], "iscrowd": crowd}


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return width and height as the file states them; None where it does not."""
    width, height = image.get("width"), image.get("height")
    if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
        return width, height
    return None


def _start(folder: Path, name: str, files: Sequence[str]) -> str:
    """Return what stands before the images' names, so that one of the first is found; "" where none is.

    COCO's own folders are `annotations/instances_train2017.json` and `train2017/1.jpg`.
    """
    split = PurePosixPath(name).stem
    for prefix in _PREFIXES:
        split = split.removeprefix(prefix)
    inner = ("", f"{_IMAGES}/", f"{split}/", f"{_IMAGES}/{split}/")
    starts = [*inner, *(f"../{start}" for start in inner)]
    return next((start for file in files[:_TRIED] for start in starts if _is_file(folder / start / file)), "")


def _is_file(file: Path) -> bool:
    """Return whether a file is there; a name that no file can have is told with its row, by `data.media_paths`."""
    try:
        return file.is_file()
    except OSError:
        return False
