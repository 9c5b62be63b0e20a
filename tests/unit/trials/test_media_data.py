"""Images and sounds as data: folders, tables of paths, and bytes in tables; related rows stay together."""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from luthier.studies.dataset import Dataset
from luthier.trials.data.load import Data
from luthier.trials.data.media_folders import folder_stamps, read_folder
from luthier.trials.errors import BadData
from tests.support.data import load_data


def load(source: Any, task: str = "image-classification", seed: int = 0, **options: Any) -> Data:
    source = {k: str(v) for k, v in source.items()} if isinstance(source, dict) else str(source)
    return load_data(Dataset.model_validate({"source": source, **options}), task, seed)


def picture(number: int) -> bytes:
    """A PNG of its own for each number."""
    file = io.BytesIO()
    Image.new("RGB", (2, 2), (number // 256, number % 256, 0)).save(file, "PNG")
    return file.getvalue()


def fill(folder: Path, files: int = 12, start: int = 0, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for i in range(files):
        file = folder / classes[i % len(classes)] / f"{i}.PNG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(start + i))
    return folder


def contents(data: Data, split: str) -> set[bytes]:
    values = data.splits[split].columns["image"]
    return {value if isinstance(value, bytes) else value.read_bytes() for value in values}


def test_a_folder_per_class(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pets", 20)
    (folder / ".DS_Store").write_text("x")
    (folder / ".hidden").mkdir()
    (folder / "cat" / ".DS_Store").write_text("x")
    (folder / "cat" / "notes.txt").write_text("not an image")
    (folder / "cat" / "old").mkdir()
    (folder / "cat" / "old" / "deep.jpg").write_bytes(b"jpeg")
    data = load(folder, validation=0.2, test=0.2)
    assert data.label_names == ["cat", "dog"]
    assert data.labels == {"cat": 11, "dog": 10}
    assert all(path.is_absolute() and path.is_file() for path in data.splits["train"].columns["image"])
    for split in data.splits.values():
        for path, label in zip(split.columns["image"], split.targets, strict=True):
            assert data.label_names[label] in path.parts
    assert set(data.splits["train"].columns) == {"image"}


def test_a_folder_whose_path_is_long_holds_no_base64(tmp_path: Path) -> None:
    data = load(fill(tmp_path / ("a" * 120) / ("b" * 120), 20), validation=0.2, test=0.2)
    assert data.labels == {"cat": 10, "dog": 10}


def test_the_order_of_rows_stays(tmp_path: Path) -> None:
    """Splits are drawn by it, and the fingerprint of a study that goes on must stay what it is."""
    names = ["cat/b.png", "cat/c.png", "cat/a/z.png", "cat/a/q/b.png", "cat/b/a.png"]
    names += ["dog/1.png", "dog/10.png", "dog/2.png"]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture(i))
    table = read_folder(tmp_path, "pets", "image", "dataset", "source")
    assert table.rows_named == names


def test_folders_for_splits(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    fill(root / "train", 12), fill(root / "val", 4, 100), fill(root / "test", 2, 200)
    found = load(root)
    assert found.rows == {"train": 12, "validation": 4, "test": 2}
    assert contents(found, "validation") == {picture(100 + i) for i in range(4)}
    assert load(root, test=0).rows == {"train": 12, "validation": 4, "test": 0}
    assert load(root, validation="test", test=0).rows["validation"] == 2
    named = load({"train": root / "train", "validation": root / "val", "test": root / "test"})
    assert named == found
    with pytest.raises(BadData, match=r"no folder for the split 'dev'; dataset\.source has test, train, val"):
        load(root, validation="dev")


def test_every_form_gives_the_same_data(tmp_path: Path) -> None:
    import datasets

    folder = fill(tmp_path / "pets", 20)
    rows = [{"image": f"pets/{c}/{i}.PNG", "label": c} for c in ("cat", "dog") for i in range(20)]
    rows = sorted(
        (row for row in rows if (tmp_path / row["image"]).exists()), key=lambda row: (row["label"], Path(row["image"]))
    )
    (tmp_path / "d.csv").write_text("image,label\n" + "".join(f"{r['image']},{r['label']}\n" for r in rows))
    (tmp_path / "d.jsonl").write_text(
        "".join(json.dumps({**r, "image": str(tmp_path / r["image"])}) + "\n" for r in rows)
    )
    binary = [(tmp_path / row["image"]).read_bytes() for row in rows]
    labels = [row["label"] for row in rows]
    pyarrow.parquet.write_table(pyarrow.table({"image": binary, "label": labels}), tmp_path / "plain.parquet")
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    made = datasets.Dataset.from_dict(
        {"image": [{"bytes": b, "path": None} for b in binary], "label": [["cat", "dog"].index(c) for c in labels]},
        features=features,
    )
    made.to_parquet(tmp_path / "struct.parquet")
    shutil.copy(tmp_path / "d.csv", tmp_path / "pets" / "beside.csv")  # a file beside the class folders is no class
    found = {name: load(tmp_path / name) for name in ("pets", "d.csv", "d.jsonl", "plain.parquet", "struct.parquet")}
    first = found["pets"]
    assert {data.fingerprint for data in found.values()} == {first.fingerprint}
    for data in found.values():
        assert data.label_names == ["cat", "dog"]
        assert {name: contents(data, name) for name in data.splits} == {n: contents(first, n) for n in first.splits}
    assert all(isinstance(value, bytes) for value in found["struct.parquet"].splits["test"].columns["image"])
    changed = next((folder / "cat").iterdir())
    changed.write_bytes(b"another picture")
    assert load(folder).fingerprint != first.fingerprint


def test_a_folder_that_changed_is_seen(tmp_path: Path) -> None:
    folder = fill(tmp_path / "pets", 6)
    (folder / "cat" / "deep").mkdir()
    for change in (
        lambda: (folder / "cat" / "deep" / "new.png").write_bytes(b"x"),
        lambda: (folder / "cat" / "deep" / "new.png").unlink(),
        lambda: (folder / "dog").rename(folder / "wolf"),
    ):
        for path, _ in folder_stamps(folder):
            os.utime(path, (0, 0))  # long before the change, however seldom the file system's clock ticks
        before = folder_stamps(folder)
        change()
        after = folder_stamps(folder)
        assert after != before
        assert folder_stamps(folder) == after


def test_sounds(tmp_path: Path) -> None:
    for i in range(12):
        file = tmp_path / "drums" / ("kick", "snare")[i % 2] / f"{i}.{('wav', 'flac', 'mp3')[i % 3]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([i + 1]))
    (tmp_path / "drums" / "kick" / "cover.png").write_bytes(b"no sound")
    data = load(tmp_path / "drums", "audio-classification")
    assert sum(data.rows.values()) == 12
    assert data.label_names == ["kick", "snare"]
    with pytest.raises(BadData, match=r"drums/snare holds no image file .*\.png"):
        load(tmp_path / "drums")


def test_hub_data_sets_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    for role, kind in (("image", datasets.Image), ("audio", datasets.Audio)):
        names = datasets.ClassLabel(names=["no", "yes"])
        values = [{"bytes": picture(i), "path": "x.png"} for i in range(20)]
        made = datasets.Dataset(pyarrow.table({role: values, "label": [i % 2 for i in range(20)]}))
        made = made.cast_column("label", names).cast_column(role, kind())
        monkeypatch.setattr(
            datasets, "load_dataset", lambda path, name=None, made=made: datasets.DatasetDict(train=made)
        )
        data = load("someone/something", f"{role}-classification")
        assert data.label_names == ["no", "yes"]
        assert data.splits["train"].columns[role][0].startswith(b"\x89PNG")


def test_faults_of_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.png").write_bytes(b"x")
    for folder in ("empty", "flat"):
        with pytest.raises(BadData, match=f"{folder} holds no folders; put the image files of each class"):
            load(tmp_path / folder)
    folder = fill(tmp_path / "pets")
    with pytest.raises(BadData, match="it has no columns") as refused:
        load(folder, columns={"group": "owner"})
    assert refused.value.path == ["dataset", "columns", "group"]
    with pytest.raises(BadData, match="pets is a folder; give a file"):
        load(folder, "text-classification")
    with pytest.raises(BadData, match="no named splits"):
        load(folder, validation="dev")
    (folder / "cat" / "0.PNG").write_bytes(b"")
    with pytest.raises(BadData, match=r"pets, cat/0.PNG: .*the file is empty"):
        load(folder)
    (folder / "bird").mkdir()
    with pytest.raises(BadData, match="pets/bird holds no image file"):
        load(folder)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("absent.png", "No such file"),
        ("../out/secret.png", "LUTHIER_DATA_ROOTS"),
        ("link.png", "LUTHIER_DATA_ROOTS"),
        ("/etc/hostname", "LUTHIER_DATA_ROOTS"),
        ("http://localhost/a.png", "URLs are not fetched"),
        ("pets", "it is no file"),
        ("a\\u0000b.png", "cannot be opened"),
        ("", "is empty"),
        ("nothing.png", "the file is empty"),
    ],
)
def test_paths_in_a_table_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, said: str) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    fill(inside / "pets")
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"x")
    (inside / "link.png").symlink_to(outside / "secret.png")
    (inside / "nothing.png").touch()
    rows = [{"image": f"pets/{('cat', 'dog')[i % 2]}/{i}.PNG", "label": i % 2} for i in range(12)]
    lines = [json.dumps(row) for row in rows]
    lines[3] = f'{{"image": "{value}", "label": 1}}'
    (inside / "d.jsonl").write_text("\n".join(lines))
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(inside))
    with pytest.raises(BadData) as refused:
        load(inside / "d.jsonl")
    assert "d.jsonl, row 4 (line 4): column 'image'" in refused.value.message
    assert said in refused.value.message
    assert refused.value.path == ["dataset", "source"]


def test_links_out_of_a_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "in" / "pets")
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path / "in"))
    with pytest.raises(BadData, match=r"pets, cat/link.png: .*LUTHIER_DATA_ROOTS"):
        load(folder)
