"""Files that are no table of text by their content, whatever their name says: each is called by what it is."""

import bz2
import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from luthier.trials.data.located import locate
from luthier.trials.data.sources import read
from luthier.trials.errors import BadData

ROLES = {"text": "text", "label": "label"}
CSV = b"text,label\na,pos\nb,neg\n"
TABLE = pyarrow.table({"text": ["a", "b"], "label": ["pos", "neg"]})


def zipped(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, CSV)
    return made.getvalue()


def tarred() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        about = tarfile.TarInfo("d.csv")
        about.size = len(CSV)
        archive.addfile(about, io.BytesIO(CSV))
    return made.getvalue()


def parquet() -> bytes:
    made = io.BytesIO()
    pyarrow.parquet.write_table(TABLE, made)
    return made.getvalue()


def feather() -> bytes:
    made = io.BytesIO()
    pyarrow.feather.write_feather(TABLE, made, compression="uncompressed")
    return made.getvalue()


HTML = b"\n<!DOCTYPE html><html>Sign in</html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
REFUSED: dict[str, tuple[str, bytes, list[str]]] = {
    # name: (file name, content, what the sentence says)
    "zip": ("d.zip", zipped("d.csv"), ["is a zip archive", "`unzip ", "the file or the folder that comes out"]),
    "zip as csv": ("d.csv", zipped("d.csv"), ["is a zip archive"]),
    "workbook of Numbers": ("d.numbers", zipped("Index/Document.iwa"), ["is a zip archive"]),
    "workbook under a strange name": ("d.xlsb", zipped("xl/workbook.bin"), ["is an Excel workbook"]),
    "tar": ("d.tar", tarred(), ["is a tar archive", "`tar -xf "]),
    "tar.gz": ("d.tar.gz", gzip.compress(tarred()), ["is a tar archive", "`tar -xf "]),
    "tar.bz2": ("d.tar.bz2", bz2.compress(tarred()), ["is a tar archive"]),
    "tgz": ("d.tgz", gzip.compress(tarred()), ["is a tar archive"]),
    "a tar inside of csv.gz": ("d.csv.gz", gzip.compress(tarred()), ["is a tar archive"]),
    "gzip twice": ("d.csv.gz", gzip.compress(gzip.compress(CSV)), ["is compressed twice"]),
    "7z": ("d.7z", b"7z\xbc\xaf\x27\x1c" + bytes(50), ["is a 7z archive", "`7z x "]),
    "rar as csv": ("d.csv", b"Rar!\x1a\x07\x01\0" + bytes(50), ["is a rar archive"]),
    "lz4": ("d.csv.lz4", b"\x04\x22\x4d\x18" + bytes(50), ["compressed with lz4"]),
    "pickle": ("d.pkl", pickle.dumps({"text": ["a"]}), ["is a pickle, which can run code and is never loaded"]),
    "pickle as csv": ("d.csv", pickle.dumps({"text": ["a"]}), ["is a pickle"]),
    "Stata": ("d.dta", b"<stata_dta><header>" + bytes(50), ["is a file of Stata", "read_stata(", "d.csv"]),
    "SPSS": ("d.sav", b"$FL2@(#) SPSS" + bytes(50), ["is a file of SPSS", "pyreadstat", "read_spss("]),
    "R": ("d.rds", gzip.compress(b"X\n\0\0\0\3" + bytes(50)), ["is a file of R", "row.names = FALSE"]),
    "R, several": ("d.RData", gzip.compress(b"RDX3\nX\n" + bytes(50)), ["is a file of R"]),
    "NumPy": ("d.npy", b"\x93NUMPY\1\0" + bytes(50), ["is an array of NumPy"]),
    "HDF5": ("d.h5", b"\x89HDF\r\n\x1a\n" + bytes(50), ["is an HDF5 file"]),
    "Avro": ("d.avro", b"Obj\1" + bytes(50), ["is an Avro file"]),
    "ORC": ("d.orc", b"ORC\x0a\0\x03" + bytes(50), ["is an ORC file", "read_orc("]),
    "Feather": ("d.feather", feather(), ["is an Arrow file; give it the ending .arrow"]),
    "Feather of old": ("d.feather", b"FEA1\0\0\0\0" + bytes(50), ["version 1", "read_feather("]),
    "Parquet by another name": ("d.pq", parquet(), ["is a Parquet file; give it the ending .parquet"]),
    "SQLite": ("d.db", b"SQLite format 3\0" + bytes(50), ["is an SQLite database"]),
    "XML": ("d.xml", b"<?xml version='1.0'?><rows/>", ["is an XML file"]),
    "RTF": ("d.csv", b"{\\rtf1\\ansi text,label}", ["is a text document (RTF)"]),
    "a web page as a workbook": ("d.xls", b"<html><table><tr><td>text", ["is a web page"]),
    "JSON lines": ("d.ndjson", b'{"text": "a", "label": "b"}\n', ["Give it the ending .jsonl"]),
    "tabs": ("d.tab", CSV.replace(b",", b"\t"), ["Give it the ending .tsv"]),
    "a table as a workbook": ("d.xls", CSV.replace(b",", b"\t"), ["first line names the columns", ".tsv with tabs"]),
    "no ending": ("SMSSpamCollection", CSV, ["give it the ending .csv"]),
    "JSON without ending": ("data", b'[{"text": "a"}]', ["looks like JSON", ".json"]),
    "binary": ("d.bin", bytes(range(256)), ["d.bin is not a csv, tsv, json, jsonl"]),
    # Parquet and Arrow
    "a page as Parquet": ("d.parquet", HTML, ["is a web page"]),
    "a pointer as Parquet": ("d.parquet", POINTER, ["git lfs pull"]),
    "a table as Parquet": ("d.parquet", CSV, ["cannot be read: it is no Parquet file"]),
    "a cut Parquet": ("d.parquet", parquet()[:-20], ["cannot be read: its end is missing", "Fetch it again"]),
    "an empty Parquet": ("d.parquet", b"", ["cannot be read: it is empty"]),
    "a Parquet in gzip": ("d.parquet.gz", gzip.compress(parquet()), ["it is compressed. Unpack it"]),
    "a page as Arrow": ("d.arrow", HTML, ["is a web page"]),
    "Parquet as Arrow": ("d.arrow", parquet(), ["is a Parquet file; give it the ending .parquet"]),
    "Arrow as Parquet": ("d.parquet", feather(), ["is an Arrow file; give it the ending .arrow"]),
    "a table as Arrow": ("d.arrow", CSV, ["cannot be read: it is no Arrow file"]),
    "a cut Arrow": ("d.arrow", feather()[:-20], ["cannot be read: its end is missing"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_called_by_what_it_is(kind: str, tmp_path: Path) -> None:
    name, content, said = REFUSED[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData) as refused:
        read(locate(str(tmp_path / name), "dataset", "source"), ROLES)
    for part in (name, *said):
        assert part in refused.value.message, refused.value.message
    assert refused.value.path == ["dataset", "source"]


@pytest.mark.parametrize("start", ["ORC", "orc", "PAR1", "RDX2", "FEA1", "Obj", "PK", "html", "$FL2"])
def test_a_column_may_be_called_like_the_mark_of_a_format(start: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(f"{start},text,label\n1,a,pos\n2,b,neg\n")
    assert read(locate(str(tmp_path / "d.csv"), "dataset", "source"), ROLES).rows == 2


@pytest.mark.parametrize("name", ["d.tar", "d.tar.gz", "d.pkl", "d.ndjson", "d.feather"])
def test_a_file_of_a_foreign_kind_that_is_missing_is_no_data_set_of_the_hub(name: str) -> None:
    with pytest.raises(BadData, match="does not exist on this worker"):
        locate(name, "dataset", "source")
