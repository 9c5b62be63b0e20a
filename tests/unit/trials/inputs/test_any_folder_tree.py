"""Any tree that is built from splits, classes and what else lies about is read as it was built, or refused."""

import random
from pathlib import Path
from typing import Any

import pytest

from luthier.trials.errors import BadData
from tests.support.tiers import a_few
from tests.unit.trials.inputs.media_trees import counts, jpeg, load

SPLITS = {
    "train": ("train", "Training", "TRAIN", "train_set", "train-images", "trainset", "train2017", "Train Data"),
    "validation": ("val", "Validation", "VALID", "valid_set", "val-images", "dev", "devset", "val2017"),
    "test": ("test", "Testing", "TEST", "test_set", "test-images", "testset", "test2017", "Test Data"),
}
CLASSES = ("cat", "dog", "Été", "a b", "no-tumor", "7", "0", "house.old", "Ж", "images", "train station", "x" * 60)
SPARE = ("predict", "sample_submission", "notes", "holdout", "masks", "old copy")
ENDINGS = (".jpg", ".JPG", ".jpeg", ".jfif", ".png", "", ".tmp", ".jpg.1")
JUNK = (".DS_Store", "Thumbs.db", "._1.jpg", ".ipynb_checkpoints/1.jpg", "__MACOSX/cat/._1.jpg", "@eaDir/1.jpg")


class Builder:
    """Writes a tree of images at random, and keeps what should be read: split -> class -> files."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.chance, self.number = root, random.Random(seed), seed * 1_000
        self.wanted: dict[str, dict[str, int]] = {}

    def file(self, path: Path, content: bytes | None = None) -> None:
        self.number += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(self.number % 97) if content is None else content)

    def image(self, folder: Path) -> None:
        self.file(folder / f"{self.number}{self.chance.choice(ENDINGS)}")

    def classes(self, folder: Path, split: str, names: list[str], least: int) -> None:
        for name in names:
            count = self.chance.randint(least, least + 4)
            for _ in range(count):
                deeper = self.chance.random() < 0.2
                self.image(folder / name / "more" if deeper else folder / name)
            self.image(folder / name)
            self.wanted.setdefault(split, {})[name] = count + 1
            if self.chance.random() < 0.2:
                self.file(folder / name / "about.txt", b"text")
        for junk in self.chance.sample(JUNK, self.chance.randint(0, 3)):
            self.file(folder / junk, b"junk")

    def build(self) -> Path:
        names = self.chance.sample(CLASSES, self.chance.randint(2, 4))
        inner = self.root
        for wrapper in self.chance.choice(((), (), ("archive",), ("archive", "data"))):
            inner /= wrapper
        kind = self.chance.choice(("classes", "splits", "splits", "spare"))
        if kind == "classes":
            self.classes(inner, "all", names, 8)
            return self.root
        for split in self.chance.choice((("train", "validation", "test"), ("train", "test"), ("train", "validation"))):
            folder = inner / self.chance.choice(SPLITS[split])
            if self.chance.random() < 0.2:
                folder /= folder.name  # seg_train/seg_train
            self.classes(folder, split, names, 8 if split == "train" else 1)
        if kind == "spare":
            for spare in self.chance.sample(SPARE, self.chance.randint(1, 2)):
                for name in self.chance.choice(([""], names, ["z"])):
                    self.image(inner / spare / name)
        for junk in self.chance.sample(JUNK, self.chance.randint(0, 3)):
            self.file(inner / junk, b"junk")
        return self.root


def whole(found: dict[str, dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for labels in found.values():
        for name, count in labels.items():
            total[name] = total.get(name, 0) + count
    return total


@pytest.mark.parametrize("block", a_few(3, range(10)))
def test_what_was_built_is_read_or_refused(block: int, tmp_path: Path) -> None:
    refused: list[str] = []
    for seed in range(block * 20, block * 20 + 20):
        built = Builder(tmp_path / str(seed), seed)
        options: dict[str, Any] = {"validation": 0.2, "test": 0.2}
        try:
            found = counts(load(built.build(), **options))
        except BadData as error:
            refused.append(f"{seed}: {error.message}")
            continue
        assert whole(found) == whole(built.wanted), seed
        for split, labels in built.wanted.items():
            if split in ("validation", "test"):
                assert found[split] == labels, (seed, split)
    assert len(refused) <= 2, refused
