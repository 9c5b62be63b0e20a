"""Related rows: all rows of a group lie on one side of every split."""

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.dataset import Dataset
from luthier.trials.data.load import Data
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.tiny import tiny_rows


def load(source: Any, task: str = "text-classification", seed: int = 0, **options: Any) -> Data:
    source = {k: str(v) for k, v in source.items()} if isinstance(source, dict) else str(source)
    return load_data(Dataset.model_validate({"source": source, **options}), task, seed)


def grouped_csv(path: Path, groups: int, seed: int = 0) -> Path:
    """Groups of 1 to 8 rows of mixed labels; the text holds the group's name."""
    draw, lines = random.Random(seed), []
    for g in range(groups):
        for text, label in draw.sample(tiny_rows(60, 3), draw.randint(1, 8)):
            lines.append(f"{text} g{g},{label},g{g}\n")
    draw.shuffle(lines)
    path.write_text("text,label,who\n" + "".join(lines))
    return path


def owners(data: Data) -> dict[str, set[str]]:
    """Group -> the splits it occurs in."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, split in data.splits.items():
        assert set(split.columns) == {"text"}
        for text in split.columns["text"]:
            found[text.split()[-1]].add(name)
    return found


@pytest.mark.parametrize("groups", [4, 12, 120])
@pytest.mark.parametrize("seed", [0, 1])
def test_related_rows_stay_on_one_side(tmp_path: Path, groups: int, seed: int) -> None:
    path = grouped_csv(tmp_path / "d.csv", groups)
    options: dict[str, Any] = {"columns": {"group": "who"}, "validation": 0.2, "test": 0.2}
    data = load(path, seed=seed, **options)
    assert all(len(splits) == 1 for splits in owners(data).values())
    assert len(owners(data)) == groups
    assert set(data.splits["train"].targets) == {0, 1, 2}
    assert all(data.rows.values())
    assert data == load(path, seed=seed, **options)
    if groups == 120:
        total = sum(data.rows.values())
        assert all(abs(data.rows[name] / total - 0.2) < 0.02 for name in ("validation", "test"))
        for name in ("validation", "test"):
            for label, count in enumerate(data.labels.values()):
                assert abs(data.splits[name].targets.count(label) / count - 0.2) < 0.05
        sample = load(path, seed=seed, limit=150, **options)
        assert all(len(splits) == 1 for splits in owners(sample).values())
        whole = {group: sum(group == text.split()[-1] for s in data.splits.values() for text in s.columns["text"])
                 for group in owners(sample)}  # fmt: skip
        assert abs(sum(sample.rows.values()) - 150) <= 8
        assert sum(whole.values()) == sum(sample.rows.values())
        assert data != load(path, seed=seed + 1, **options)


def test_groups_that_cannot_be_kept_apart_are_refused(tmp_path: Path) -> None:
    path = grouped_csv(tmp_path / "d.csv", 2)
    with pytest.raises(BadData, match="2 groups are too few to draw a"):
        load(path, columns={"group": "who"})
    other = tmp_path / "e.csv"
    other.write_text(path.read_text().replace("g0", "g7"))
    with pytest.raises(BadData, match=r"The group 'g1' occurs in .*d.csv and in .*e.csv") as refused:
        load({"train": path, "test": other}, columns={"group": "who"})
    assert refused.value.path == ["dataset", "columns", "group"]
    path.write_text(path.read_text() + "who is it,joy,\n")
    with pytest.raises(BadData, match="column 'who' is empty"):
        load(path, columns={"group": "who"})
