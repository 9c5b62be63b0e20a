"""Small folders of images, written from a list of their files."""

import io
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from luthier.studies.dataset import Dataset
from luthier.trials.data.load import Data
from tests.support.data import load_data


@cache
def jpeg(number: int, kind: str = "JPEG") -> bytes:
    """Return an image of its own for each number, encoded."""
    pixels = numpy.random.default_rng(number).integers(0, 255, (12, 16, 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def grow(root: Path, *branches: str, start: int = 0) -> Path:
    """Write images: "Training/{glioma,notumor} 4" is 4 in each of the two folders; "predict 3" is 3 beside each other.

    A branch "a/b.txt = text" is a file with that text.
    """
    number = start
    for branch in branches:
        if " = " in branch:
            name, _, text = branch.partition(" = ")
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
            continue
        where, _, count = branch.rpartition(" ") if branch[-1].isdigit() else (branch, "", "")
        for folder in _alternatives(where):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for _ in range(int(count or 0)):
                number += 1
                (root / folder / f"{number}.jpg").write_bytes(jpeg(number))
    return root


def _alternatives(text: str) -> list[str]:
    before, brace, rest = text.partition("{")
    if not brace:
        return [text]
    inner, _, after = rest.partition("}")
    return [before + choice + tail for choice in inner.split(",") for tail in _alternatives(after)]


def load(source: Any, task: str = "image-classification", verify: bool = False, **options: Any) -> Data:
    """Return the data of a folder or file, split without options as the spec's defaults say."""
    source = {k: str(v) for k, v in source.items()} if isinstance(source, dict) else str(source)
    return load_data(Dataset.model_validate({"source": source, **options}), task, 0, verify)


def counts(data: Data) -> dict[str, dict[str, int]]:
    """Return split -> label -> its rows."""
    return {
        name: dict(sorted(Counter(data.label_names[label] for label in split.targets).items()))
        for name, split in data.splits.items()
    }
