"""Folders of images and of their masks as tables: `images/1.jpg` beside `masks/1.png`, with or without splits above.

`data.load` calls `pair_tables`, `data.sources` calls `pair_table`; no file is opened here.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from luthier.trials.data.media_tree import IMAGE_SUFFIXES, listed
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData
from luthier.trials.paths import check_inside_roots

IMAGES, MASKS = "images", "masks"
"""Names of the folders."""
_OF_MASK = re.compile(r"[ _.-]?(?:masks?|seg|segmentation|labels?|gt)$", re.IGNORECASE)  # what ends a mask's name


def has_pairs(folder: Path) -> bool:
    """Return whether a folder holds a folder of images and one of masks."""
    return (folder / IMAGES).is_dir() and (folder / MASKS).is_dir()


def pair_tables(folder: Path, name: str, *path: str) -> dict[str, Table]:
    """Return the tables of a folder: its own as "train", or one for each folder in it that has images and masks.

    Args:
        folder: The resolved folder.
        name: The folder as the user wrote it, for error messages.
        path: The spec's path of the folder, for error messages.

    Returns:
        Name -> table; empty where there are no such folders.

    Raises:
        BadData: An image has no mask, or a mask has no image.
    """
    if has_pairs(folder):
        return {"train": pair_table(folder, name, *path)}
    inner = sorted(child for child in folder.iterdir() if child.is_dir() and has_pairs(child))
    return {child.name: pair_table(child, f"{name}/{child.name}", *path) for child in inner}


def pair_table(folder: Path, name: str, *path: str) -> Table:
    """Return the images of a folder with their masks, in the order of their names.

    Args:
        folder: The resolved folder, which `has_pairs`.
        name: The folder as the user wrote it, for error messages.
        path: The spec's path of the folder, for error messages.

    Raises:
        BadData: An image has no mask or two, a mask has no image, two files have the same name but for their ending, or
            a folder is a link that leads out of the data roots.
    """
    images = _by_stem(folder / IMAGES, f"{name}/{IMAGES}", *path)
    masks = _by_stem(folder / MASKS, f"{name}/{MASKS}", *path)
    if images.keys() != masks.keys():
        masks = _by_image(masks, images, name, *path)
    for one, other, here, there in ((images, masks, IMAGES, MASKS), (masks, images, MASKS, IMAGES)):
        if lone := [one[stem].name for stem in one if stem not in other]:
            text = f"{name}: {len(lone):,} files of {here} have none of the same name in {there}: {listed(lone)}. "
            raise BadData(f"{text}Add them there, or move these away; 1.jpg belongs to 1.png.", *path)
    stems = sorted(images)
    columns = {"image": [images[stem] for stem in stems], "mask": [masks[stem] for stem in stems]}
    names = [f"{IMAGES}/{images[stem].name}" for stem in stems]
    return Table(name, path, list(columns), columns, len(stems), rows_named=names, folder=folder)


def _by_image(masks: Mapping[str, Path], images: Mapping[str, Path], name: str, *path: str) -> dict[str, Path]:
    """Return the masks by the names of their images, without what ends a mask's name. Raises BadData."""
    found: dict[str, Path] = {}
    for stem, file in masks.items():
        image = _OF_MASK.sub("", stem)
        if image in found and image in images:
            text = (
                f"{name}/{MASKS}: {found[image].name} and {file.name} both belong to {images[image].name} of {IMAGES}"
            )
            raise BadData(f"{text}; remove one of them.", *path)
        found[image] = file
    return found


def _by_stem(folder: Path, name: str, *path: str) -> dict[str, Path]:
    """Return name without ending -> file, of the images in a folder. Raises BadData."""
    check_inside_roots(folder.resolve(), name, *path)
    files = (file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    found: dict[str, Path] = {}
    for file in sorted(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES):
        if file.stem in found:
            text = f"{name} holds {found[file.stem].name} and {file.name}; remove one of them."
            raise BadData(text, *path)
        found[file.stem] = file
    return found
