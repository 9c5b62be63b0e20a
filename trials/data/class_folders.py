"""Whether the folders of a data set of images or sounds are classes: splits, parts, copies and masks are none.

`data.media_folders` asks it before it reads a folder's files. Names alone decide where no shape does.
"""

import re
from collections import Counter
from collections.abc import Mapping

from luthier.trials.data.folder_splits import find_splits
from luthier.trials.data.media_tree import Tree, listed
from luthier.trials.errors import BadData

_CONTAINER = re.compile("audios?|data|files|images?|imgs?|jpe?gs?|originals?|photos|pictures|png|raw|sounds|wavs?")
"""Names of a folder that holds a class's files and means nothing: n01443537/images."""
_PARTS = re.compile(
    r"(?:fold|part|batch|chunk|shard|split|subset|archive|block|dis[ck]|volume)[ _-]?\d+", re.IGNORECASE
)
_IMAGES = re.compile("images?|imgs?|jpegimages|originals?|raw", re.IGNORECASE)
_MASKS = re.compile(
    "(?:seg(?:mentation)?[ _-]?)?masks?|segmentations?|annotations?|labels?|ground[ _-]?truths?|gts?|depths?",
    re.IGNORECASE,
)


def copies(tree: Tree) -> list[str]:
    """Return the folders that hold folders of the same names as stand beside them: pets/{cat, dog, pets/{cat, dog}}."""
    return [
        name
        for name, inner in tree.folders.items()
        if not inner.files and len(inner.filled) > 1 and set(inner.filled) <= set(tree.folders) - {name}
    ]


def check_classes(name: str, classes: Mapping[str, Tree], role: str, *path: str) -> None:
    """Raise BadData where the folders cannot be classes: splits without classes, or all with the same subfolders.

    Args:
        name: The folder that they are in, as the user wrote it.
        classes: Folder -> what it holds.
        role: "image" or "audio".
        path: The spec's path of the folder.
    """
    filled = {label: tree for label, tree in classes.items() if tree.count}
    if said := _by_names(name, filled, role) or _by_contents(name, filled, role):
        raise BadData(f"{name}{said}", *path)


def _by_names(name: str, filled: Mapping[str, Tree], role: str) -> str | None:
    """Return why folders are no classes by their own names, as the end of a sentence that begins with `name`."""
    folders = listed(list(filled))
    splits = find_splits(list(filled))
    if len(set(splits.values())) > 1 and len(splits) == len(filled):
        train = next((folder for folder, split in splits.items() if split == "train"), next(iter(splits)))
        return (
            f" holds {folders}, which are splits and no classes; write dataset.source as {{train: {name}/{train}, "
            "...}, each with a folder for each class."
        )
    same = set.intersection(*(set(tree.filled) for tree in filled.values())) if filled else set()
    if len(filled) > 1 and all(map(_PARTS.fullmatch, filled)) and not same:
        return (
            f" holds {folders}, which are parts of the data and no classes by their names; list the {role} files and "
            "their labels in a csv."
        )
    masks = [folder for folder in filled if _MASKS.fullmatch(folder)]
    if masks and any(map(_IMAGES.fullmatch, filled)):
        return (
            f" holds {folders}: {listed(masks)} seem to be masks or boxes of the others and no class; list the {role} "
            "files and their labels in a csv."
        )
    return None


def _by_contents(name: str, filled: Mapping[str, Tree], role: str) -> str | None:
    """Return why folders are no classes by the folders in them, as the end of a sentence that begins with `name`."""
    shared = _shared(filled)
    if not shared:
        return None
    first, second, *_ = filled
    hold = f": {listed(list(filled))} hold the"
    masks = [sub for sub in shared if _MASKS.fullmatch(sub)]
    if masks and any(map(_IMAGES.fullmatch, shared)):
        return (
            f"{hold} same folders ({listed(shared)}), of which {listed(masks)} seem to be masks or boxes and no "
            f"examples: move the folders {listed(masks)} away."
        )
    if len(set(find_splits(shared).values())) > 1:
        return (
            f"{hold} splits {listed(shared)}. Put the folders of the classes inside those of the splits "
            f"({shared[0]}/{first}), or list files and labels in a csv for each split."
        )
    return (
        f"{hold} same folders ({listed(shared)}), so they are parts of the data and no classes. If they are splits, "
        f"write dataset.source as {{train: {name}/{first}, test: {name}/{second}}}; to learn from all, or to tell them "
        f"apart, list the {role} files and their labels in a csv."
    )


def _shared(filled: Mapping[str, Tree]) -> list[str]:
    """Return the names of subfolders that several folders have, where all folders are made of them; else none."""
    if len(filled) < 2 or any(tree.files for tree in filled.values()):
        return []
    inside = [set(tree.filled) for tree in filled.values()]
    owners = Counter(sub for subs in inside for sub in subs)
    shared = sorted(sub for sub, count in owners.items() if count > 1)
    if len(owners) == 1 and _CONTAINER.fullmatch(shared[0].lower()):
        return []
    return shared if 2 * len(shared) >= len(owners) and all(subs & set(shared) for subs in inside) else []
