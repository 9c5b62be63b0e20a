"""Files of any content are rows, the same that other programs read, or a sentence; never an error of Python."""

import csv
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import strategies as st

from luthier.trials.data.located import locate
from luthier.trials.data.sources import read
from luthier.trials.errors import BadData
from tests.support.searched import searched

ROLES: dict[str, dict[str, str]] = {
    "table": {"text": "text", "label": "label"},
    "words": {"tokens": "tokens", "label": "ner_tags"},
    "boxes": {"image": "image", "objects": "objects"},
    "messages": {"messages": "messages"},
}
ROWS = {"text": ["a film", "b, c", 'he said "no"', "", "é\n2"], "label": ["pos", "neg", "pos", "neg", "pos"]}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "iscrowd": 0}],
    "categories": [{"id": 1, "name": "dog"}, {"id": 7, "name": "cat"}],
}


def as_csv(separator: str) -> bytes:
    written = io.StringIO()
    csv.writer(written, delimiter=separator).writerows([("text", "label"), *zip(*ROWS.values(), strict=True)])
    return written.getvalue().encode()


def as_arrow(write: Callable[[pyarrow.Table, io.BytesIO], None]) -> bytes:
    written = io.BytesIO()
    write(pyarrow.table(ROWS), written)
    return written.getvalue()


LINES = [json.dumps(dict(zip(ROWS, row, strict=True))) for row in zip(*ROWS.values(), strict=True)]
CONLLU = "{}\t{}\t_\tX\t_\t_\t0\t_\t_\tNER={}\n"
VALID: dict[str, tuple[str, bytes]] = {
    "d.csv": ("table", as_csv(",")),
    "d.tsv": ("table", as_csv("\t")),
    "d.json": ("table", f"[{', '.join(LINES)}]".encode()),
    "d.jsonl": ("table", "\n".join(LINES).encode()),
    "d.parquet": ("table", as_arrow(pyarrow.parquet.write_table)),
    "d.arrow": ("table", as_arrow(pyarrow.feather.write_feather)),
    "d.conll": ("words", b"Ann B-PER\nruns O\n\n-DOCSTART- O\n\nin O\nOslo B-LOC\n"),
    "d.conllu": ("words", "".join(CONLLU.format(*row) for row in ((1, "Ann", "B-PER"), (2, "runs", "O"))).encode()),
    "d.txt": ("words", b"Ann B-PER\nruns O\n"),
    "coco.json": ("boxes", json.dumps(COCO).encode()),
    "m.jsonl": ("messages", b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'),
}
PIECES = [
    b"\0",
    b'"',
    b"\n",
    b"\r",
    b",",
    b"\t",
    b"\xff",
    b"\xef\xbb\xbf",
    b"{",
    b"[",
    b"null",
    b"NaN",
    b"\\ud800",
    b"9" * 30,
]


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with a few bytes changed, taken out, doubled or put in, or with its end cut off."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        act = draw(st.sampled_from(["flip", "remove", "insert", "double", "cut"]))
        if act == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif act == "remove":
            del data[at : at + draw(st.integers(1, 30))]
        elif act == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
        elif act == "cut":
            del data[at:]
        else:
            data[at:at] = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
    return bytes(data)


def returned(file: Path, kind: str) -> dict[str, list[Any]] | None:
    """Return the columns of a file; None where it is refused with a sentence that names it."""
    refused = None
    try:
        table = read(locate(str(file), "dataset", "source"), ROLES[kind])
    except BadData as error:
        refused = error.message
    if refused is not None:
        assert file.name in refused, refused
        assert "Traceback" not in refused
        assert len(refused) < 5_000
        return None
    columns = {name: list(values) for name, values in table.columns.items()}
    assert {len(values) for values in columns.values()} <= {table.rows}
    return columns


def by_arrow(content: bytes) -> dict[str, list[Any]] | None:
    """Return what pyarrow reads of a Parquet or Arrow file; None where it refuses it."""
    try:
        if content[:4] == b"PAR1":
            table = pyarrow.parquet.read_table(io.BytesIO(content), columns=list(ROWS))
        else:
            table = pyarrow.ipc.open_file(io.BytesIO(content)).read_all().select(list(ROWS))
        table.validate(full=True)
        return dict(table.to_pydict())
    except (pyarrow.ArrowException, KeyError, ValueError, OSError):
        return None


def by_json(content: bytes) -> dict[str, list[Any]] | None:
    """Return the columns of a JSON list of objects that have both; None where it is none."""
    try:
        rows = json.loads(content)
        return {name: [row[name] for row in rows] for name in ROWS}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


OTHERS: dict[str, Callable[[bytes], dict[str, list[Any]] | None]] = {
    "d.parquet": by_arrow,
    "d.arrow": by_arrow,
    "d.json": by_json,
}


@pytest.mark.parametrize("name", VALID)
@searched(4, times=1000)
def test_a_damaged_file_is_read_as_others_do_or_refused(name: str, limits: hypothesis.settings, tmp_path: Path) -> None:
    kind, content = VALID[name]

    @limits
    @hypothesis.given(mutated(content))
    def search(damaged: bytes) -> None:
        (tmp_path / name).write_bytes(damaged)
        ours = returned(tmp_path / name, kind)
        if ours is not None and name in OTHERS and set(ours) == set(ROWS):
            theirs = OTHERS[name](damaged)
            assert theirs is None or ours == theirs

    (tmp_path / name).write_bytes(content)
    whole = returned(tmp_path / name, kind)
    assert whole is not None, "the file is valid before it is damaged"
    assert whole == ROWS or kind != "table"
    search()


@pytest.mark.parametrize("name", [*VALID, "d.csv.gz", "d.jsonl.xz", "d.parquet.bz2"])
@searched(3, times=1000)
def test_any_bytes_are_read_or_refused(name: str, limits: hypothesis.settings, tmp_path: Path) -> None:
    kind = VALID.get(name, ("table", b""))[0]
    magic = [b"", b"PAR1", b"ARROW1\0\0", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"PK\3\4", b"text,label\n"]
    starts = st.sampled_from(magic)

    @limits
    @hypothesis.given(starts, st.binary(max_size=80) | st.text(max_size=60).map(lambda text: text.encode("utf-16")))
    def search(start: bytes, content: bytes) -> None:
        (tmp_path / name).write_bytes(start + content)
        returned(tmp_path / name, kind)

    search()


SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=5)
OBJECTS = st.dictionaries(st.text(max_size=4), SCALARS, max_size=3)
TREES = st.recursive(SCALARS | OBJECTS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@searched(8, times=1000)
def test_any_coco_is_read_or_refused(limits: hypothesis.settings, tmp_path: Path) -> None:
    parts = st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "file_name", "width", "height", "name"), TREES))
    marks = st.fixed_dictionaries(
        {"image_id": SCALARS | st.just(1), "bbox": TREES | st.just([0, 0, 1, 1]), "category_id": SCALARS | st.just(1)},
        optional={"iscrowd": TREES, "id": TREES},
    )
    usual = st.fixed_dictionaries({"id": st.just(1), "file_name": st.text(max_size=6) | st.just("../../a.jpg")})
    coco = st.fixed_dictionaries(
        {
            "images": st.lists(usual | parts | TREES, max_size=3),
            "annotations": st.lists(marks | TREES, max_size=3),
            "categories": st.lists(st.fixed_dictionaries({"id": SCALARS, "name": TREES}) | TREES, max_size=3),
        }
    )

    @limits
    @hypothesis.given(coco)
    def search(value: Any) -> None:
        (tmp_path / "coco.json").write_text(json.dumps(value))
        returned(tmp_path / "coco.json", "boxes")

    search()


@pytest.mark.parametrize("offsets", [[0, 2**20, 5], [0, -9, 5], [7, 3, 5], [0, 3, 2**31 - 1]])
def test_a_text_that_lies_outside_of_its_file_is_not_read(offsets: list[int], tmp_path: Path) -> None:
    """Arrow's file format holds offsets, and what a worker has beside them in memory is no data."""
    sound = pyarrow.record_batch({"text": ["a", "b"], "label": ["pos", "neg"]})
    written = io.BytesIO()
    with pyarrow.ipc.new_file(written, sound.schema) as writer:
        writer.write_batch(sound)
    content = written.getvalue()
    assert content.count(struct.pack("<3i", 0, 1, 2)) == 1
    (tmp_path / "d.arrow").write_bytes(content.replace(struct.pack("<3i", 0, 1, 2), struct.pack("<3i", *offsets)))
    assert returned(tmp_path / "d.arrow", "table") is None
