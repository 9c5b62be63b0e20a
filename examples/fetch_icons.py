"""Icons pasted on photographs, for fetch.py: masks for segmentation, boxes for detection, kinds, shares."""

import json
import random
from pathlib import Path
from typing import Any

from packages import ROOT, debian_package, write_csv

SIDE = 96  # pixels
COUNTS = {"train": 600, "validation": 150, "test": 150}
KINDS = {"folder": "places/folder-*.png", "face": "emotes/face-*.png", "document": "mimetypes/[ta]*-*.png"}
SOLID = 127  # an icon's pixel is its own above this alpha


def icons() -> Path:
    """900 photographs (lomiri-wallpapers, CC BY and BY-SA) with one to three icons on each (Oxygen, LGPL-3+).

    For each split a folder, a csv (image, mask, kinds with bars between them, share of the pixels that icons cover) and
    COCO's json. In a mask 0 is the photograph, 1 a folder, 2 a face, 3 a document. No icon and no photograph is in two
    splits.
    """
    target = ROOT / "data" / "icons"
    generator = random.Random(0)  # noqa: S311
    pasted = debian_package("oxygen-icon-theme") / "usr/share/icons/oxygen/base/64x64"
    files = {kind: sorted(path for path in pasted.glob(name) if not path.is_symlink()) for kind, name in KINDS.items()}
    photographs = sorted((debian_package("lomiri-wallpapers-16.04") / "usr/share/backgrounds").glob("*.jpg"))
    for paths in (*files.values(), photographs):
        generator.shuffle(paths)
    for split, count in COUNTS.items():
        backgrounds = [_reduced(path) for path in _share(photographs, split)]
        shares = {kind: _share(paths, split) for kind, paths in files.items()}
        _write_split(target, split, [_compose(generator, backgrounds, shares) for _ in range(count)])
    return target


def _share(paths: list[Path], split: str) -> list[Path]:
    """Return a split's part of files: a sixth for validation, a sixth for test, the others for training."""
    part = len(paths) // 6
    return {"validation": paths[:part], "test": paths[part : 2 * part], "train": paths[2 * part :]}[split]


def _reduced(path: Path) -> Any:
    from PIL import Image

    picture = Image.open(path)
    picture.draft("RGB", (640, 640))
    picture = picture.convert("RGB")
    picture.thumbnail((640, 640))
    return picture


def _compose(generator: random.Random, backgrounds: list[Any], files: dict[str, list[Path]]) -> tuple[Any, Any, Any]:
    """Return an image, its mask, and a kind, a box (x, y, width, height in pixels) and an area for each icon."""
    from PIL import Image

    photograph = generator.choice(backgrounds)
    side = generator.randint(SIDE, min(photograph.size))
    left, top = (generator.randint(0, length - side) for length in photograph.size)
    image = photograph.resize((SIDE, SIDE), box=(left, top, left + side, top + side))
    mask = Image.new("L", (SIDE, SIDE))
    objects: list[tuple[str, tuple[int, int, int, int], int]] = []
    for _ in range(generator.randint(1, 3)):
        kind = generator.choice(list(files))
        icon = Image.open(generator.choice(files[kind])).convert("RGBA")
        length = generator.randint(28, 44)
        icon = icon.resize((length, length))
        at = (generator.randint(0, SIDE - length), generator.randint(0, SIDE - length))
        solid = icon.getchannel("A").point(lambda alpha: 255 if alpha > SOLID else 0)
        around = solid.getbbox()
        if around is None or mask.crop((*at, at[0] + length, at[1] + length)).getbbox() is not None:
            continue  # icons do not hide each other
        image.paste(icon, at, icon)
        mask.paste(1 + list(KINDS).index(kind), (*at, at[0] + length, at[1] + length), solid)
        box = (at[0] + around[0], at[1] + around[1], around[2] - around[0], around[3] - around[1])
        objects.append((kind, box, solid.histogram()[255]))
    return image, mask, objects


def _write_split(target: Path, split: str, composed: list[tuple[Any, Any, Any]]) -> None:
    folder = target / split
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows, images, annotations = [], [], []
    for number, (image, mask, objects) in enumerate(composed):
        name = f"{number:04}.png"
        image.save(folder / "images" / name)
        mask.save(folder / "masks" / name)
        kinds = [kind for kind in KINDS if any(kind == found for found, _, _ in objects)]
        covered = sum(area for _, _, area in objects) / SIDE**2
        rows.append((f"{split}/images/{name}", f"{split}/masks/{name}", "|".join(kinds), f"{covered:.4f}"))
        images.append({"id": number, "file_name": f"images/{name}", "width": SIDE, "height": SIDE})
        for kind, box, area in objects:
            found = {"id": len(annotations), "image_id": number, "category_id": 1 + list(KINDS).index(kind)}
            annotations.append({**found, "bbox": box, "area": area, "iscrowd": 0})
    write_csv(target / f"{split}.csv", ("image", "mask", "kinds", "share"), rows)
    categories = [{"id": 1 + number, "name": kind} for number, kind in enumerate(KINDS)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(coco), encoding="utf-8")
