"""Tables of text as people have them: each kind is read as it was written, or refused with its cause and a cure."""

import bz2
import csv
import gzip
import io
import lzma
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from luthier.trials.data.located import locate
from luthier.trials.data.sources import read
from luthier.trials.errors import BadData

ROLES = {"text": "text", "label": "label"}
GOOD = [("good film", "pos"), ("bad film", "neg"), ("fine", "pos"), ("poor", "neg")]


def rows(path: Path, content: str | bytes, roles: dict[str, str] = ROLES) -> list[tuple[Any, ...]]:
    """Write a file, and return its rows as they are read."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read(locate(str(path), "dataset", "source"), roles)
    found = list(zip(*(table.columns[column] for column in roles.values()), strict=True))
    assert len(found) == table.rows == len(table.lines or found)
    return found


def comma(extra: str = "", header: str = "text,label", end: str = "\n") -> str:
    return header + end + "".join(f"{text},{label}{end}" for text, label in GOOD) + extra


def tabs(*texts: str) -> str:
    """Return a tab-separated file with these texts first, each labelled pos or neg in turn, and 30 rows more."""
    all_texts = [*texts, *(f"text {i}" for i in range(30))]
    return "text\tlabel\n" + "".join(f"{text}\t{('pos', 'neg')[i % 2]}\n" for i, text in enumerate(all_texts))


SPARK = 'text,label\n"he said \\"hi\\", and left",pos\nC:\\new,neg\n"a \\\\ b, c",pos\n"\\"quoted\\"",neg\n'
READ: dict[str, tuple[str, str | bytes, list[tuple[str, str]]]] = {
    # name: (file name, content, rows)
    "semicolons": ("d.csv", comma().replace(",", ";"), GOOD),
    "semicolons around commas": ("d.csv", "text;label\na, b;pos\nc, d, e;neg\n", [("a, b", "pos"), ("c, d, e", "neg")]),
    "tabs in csv": ("d.csv", comma().replace(",", "\t"), GOOD),
    "bars": ("d.csv", comma().replace(",", "|"), GOOD),
    "commas in tsv": ("d.tsv", comma(), GOOD),
    "a table as txt": ("d.txt", comma().replace(",", "\t"), GOOD),
    "sep=,": ("d.csv", "sep=,\r\n" + comma(end="\r\n"), GOOD),
    "sep=;": ("d.csv", "SEP=;\n" + comma().replace(",", ";"), GOOD),
    '"sep=;"': ("d.csv", '"sep=;"\n' + comma().replace(",", ";"), GOOD),
    "mark": ("d.csv", b"\xef\xbb\xbf" + comma().encode(), GOOD),
    "mark twice": ("d.csv", b"\xef\xbb\xbf\xef\xbb\xbf" + comma().encode(), GOOD),
    "mark and sep": ("d.csv", b"\xef\xbb\xbfsep=,\n" + comma().encode(), GOOD),
    "old line ends": ("d.csv", comma(end="\r"), GOOD),
    "UTF-16": ("d.csv", comma("é,pos\n").encode("utf-16"), [*GOOD, ("é", "pos")]),
    "UTF-16 with tabs, Excel's text": ("d.txt", comma().replace(",", "\t").encode("utf-16"), GOOD),
    "UTF-16 without mark": ("d.csv", comma("é,pos\n").encode("utf-16-le"), [*GOOD, ("é", "pos")]),
    "UTF-16 big end first": ("d.csv", comma("é,pos\n").encode("utf-16-be"), [*GOOD, ("é", "pos")]),
    "UTF-32": ("d.csv", comma().encode("utf-32"), GOOD),
    "gzip": ("d.csv.gz", gzip.compress(comma().encode()), GOOD),
    "gzip by another name": ("d.csv", gzip.compress(comma().encode()), GOOD),
    "bzip2": ("d.csv.bz2", bz2.compress(comma().encode()), GOOD),
    "xz": ("d.tsv.xz", lzma.compress(comma().replace(",", "\t").encode()), GOOD),
    "blanks in the header": ("d.csv", comma(header=" text , label\xa0"), GOOD),
    "columns without a name": ("d.csv",
        comma(header="text,label,,").replace("s\n", "s,,\n").replace("g\n", "g,,\n"), GOOD),
    "an index": ("d.csv", ",text,label\n" + "".join(f"{i},{t},{x}\n" for i, (t, x) in enumerate(GOOD)), GOOD),
    "empty rows at the end": ("d.csv", comma(",\n,\n\n,\n"), GOOD),
    "wider empty rows at the end": ("d.csv", comma(",,,,\n,,,,\n"), GOOD),
    "empty rows with a blank at the end": ("d.csv", comma(",\n ,\n,\xa0\n,\n"), GOOD),
    "a blank in a column without a name": (
        "d.csv", comma(header="text,label,").replace("s\n", "s, \n").replace("g\n", "g,\n"), GOOD,
    ),
    "blanks at the end": ("d.csv", comma("   \n"), GOOD),
    "empty lines first": ("d.csv", "\n\n" + comma(), GOOD),
    "quotes inside": ("d.csv",
        comma('a 5" pipe,neg\nsay "hi",pos\n'), [*GOOD, ('a 5" pipe', "neg"), ('say "hi"', "pos")]),
    "Spark": (
        "d.csv", SPARK,
        [('he said "hi", and left', "pos"), ("C:\\new", "neg"), ("a \\ b, c", "pos"), ('"quoted"', "neg")],
    ),
    "backslashes that escape nothing": ("d.csv",
        comma('"a \\n, b",neg\n"C:\\",pos\n'), [*GOOD, ("a \\n, b", "neg"), ("C:\\", "pos")]),
    "JSON inside": ("d.csv", comma('"{""a"": ""\\""b\\""""}",pos\n'), [*GOOD, ('{"a": "\\"b\\""}', "pos")]),
    "a quote escaped without others": ("d.csv",
        'text,label\na \\"b\\" c,pos\nd,neg\n', [('a "b" c', "pos"), ("d", "neg")]),
    "several lines in a cell": ("d.csv",
        comma('"one, two\nthree\r\nfour",pos\n'), [*GOOD, ("one, two\nthree\r\nfour", "pos")]),
    "no character but \\n ends a line": ("d.csv",
        comma("a\u2028b\x85c\x0cd,pos\n"), [*GOOD, ("a\u2028b\x85c\x0cd", "pos")]),
    "consistently quoted tabs": ("d.tsv",
        'text\tlabel\n"a ""b"""\tpos\n"c\td"\tneg\n', [('a "b"', "pos"), ("c\td", "neg")]),
    "all cells quoted": ("d.tsv", '"text"\t"label"\n"a"\t"pos"\n"b"\t"neg"\n', [("a", "pos"), ("b", "neg")]),
    "all texts quoted": ("d.tsv", 'text\tlabel\n"a"\tpos\n"b"\tneg\n', [("a", "pos"), ("b", "neg")]),
    "one text in quotes": ("d.tsv", 'text\tlabel\n"a"\tpos\nb\tneg\n', [('"a"', "pos"), ("b", "neg")]),
    "mojibake beside sound text": ("d.csv", comma("cafÃ© and café,pos\n"), [*GOOD, ("cafÃ© and café", "pos")]),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_it_is_read(kind: str, tmp_path: Path) -> None:
    name, content, expected = READ[kind]
    assert rows(tmp_path / name, content) == expected


@pytest.mark.parametrize(
    "texts",
    [
        ('"Great', 'movie', 'bad"'),
        ('"Great', "b", "c", 'five "stars"'),
        ('"Never again', 'say "hi"'),
        ('"', '"'),
        ('a "quoted" word', '"Title" by someone'),
    ],
)  # fmt: skip
def test_a_quote_at_the_start_of_a_cell_between_tabs_swallows_nothing(texts: tuple[str, ...], tmp_path: Path) -> None:
    assert [text for text, _ in rows(tmp_path / "d.tsv", tabs(*texts))][: len(texts)] == list(texts)
    assert len(rows(tmp_path / "d.tsv", tabs(*texts))) == len(texts) + 30


def excel() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return made.getvalue()


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("d.csv", comma())
    return made.getvalue()


REFUSED: dict[str, tuple[str, str | bytes, list[str]]] = {
    # name: (file name, content, what the sentence says)
    "Windows-1252": ("d.csv", comma("café,pos\n").encode("cp1252"), ["0xe9", "line 6", "WINDOWS-1252", "iconv -f"]),
    "MS-DOS": ("d.csv", comma("caf\xe9 m\xfcde,pos\n").encode("cp850"), ["line 6", "CP850", "iconv -f CP850"]),
    "MS-DOS without its own letters": ("d.csv", comma("pi\xe8ce,pos\n").encode("cp850"), ["line 6", "CP850"]),
    "a Mac": ("d.csv", comma("caf\xe9 fa\xe7ade,pos\n").encode("mac_roman"), ["line 6", "iconv -f MACINTOSH"]),
    "quotes and dashes of Windows": (
        "d.csv", comma("\u201cisn\u2019t\u201d one\u2014two\u2026,pos\n").encode("cp1252"),
        ["line 6", "iconv -f WINDOWS-1252"],
    ),
    "Windows-1251": ("d.csv", comma("хороший фильм,pos\n").encode("cp1251"), ["line 6", "WINDOWS-1251", "iconv -f"]),
    "a broken byte": ("d.csv", comma("é,pos\n").encode() + b"\xe9,neg\n", ["0xe9", "line 7", "All before it is UTF-8"]),
    "cut in a character": ("d.csv", comma("a,é").encode()[:-1], ["line 6", "cut"]),
    "encoded twice": ("d.csv",
        comma("cafÃ©,pos\nItâ€™s,neg\n"), ["encoded twice", "line 6", "'é'", "iconv -f UTF-8 -t W"]),
    "a workbook": ("d.xlsx", excel(), ["d.xlsx is an Excel workbook", "CSV UTF-8", "read_excel"]),
    "a workbook as csv": ("d.csv", excel(), ["d.csv is an Excel workbook", "CSV UTF-8"]),
    "an old workbook": ("d.xls", b"\xd0\xcf\x11\xe0" + bytes(600), ["Excel workbook", "xlrd"]),
    "a zip": ("d.csv.zip", zipped(), ["zip archive", "unzip"]),
    "zstd": ("d.csv.zst", b"\x28\xb5\x2f\xfd" + bytes(9), ["zstd -d"]),
    "a cut gzip": ("d.csv.gz", gzip.compress(comma().encode())[:-9], ["cannot be unpacked", "fetch it again"]),
    "a web page": ("d.csv", "\n<!DOCTYPE html><html>", ["web page"]),
    "a pointer": ("d.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["git lfs pull"]),
    "Parquet as csv": ("d.csv", b"PAR1\x15\x04\x15", ["Parquet", ".parquet"]),
    "fastText": ("d.txt", "__label__pos good film\n__label__neg bad film\n", ["no table", "csv"]),
    "ragged semicolons": ("d.csv", comma("a;b;c\n").replace(",", ";"), ["row 5 (line 6)", "3 fields", "2"]),
    "ragged after sep": ("d.csv", "sep=,\n" + comma("a,b,c\n"), ["row 5 (line 7)", "3 fields"]),
    "an unquoted comma": ("d.csv", comma("well, good,pos\n", header="text,label,"), ["line 2", "2 fields", "3"]),
    "no name": ("d.csv", "text,label,\na,pos,\nwell, good,pos\n", ["row 2 (line 3)", "'pos' in column 3", "no name"]),
    "an empty wide row": ("d.csv", comma(",,\nx,pos\n"), ["row 5 (line 6)", "3 fields"]),
    "names alike but for blanks": ("d.csv", "text,label,label \na,b,c\n", ["more than one column called 'label'"]),
    "rows swallowed": ("d.csv", comma('"a,pos\nb,neg\nc",pos\n'), ["line 6", "line 8", "looks like a row"]),
    "escaped in two ways": ("d.csv",
        'text,label\n"a \\"b\\" \\n \\\\ c",pos\nd,neg\n', ["row 1 (line 2)", 'option("escape"']),
    "a blank before a quote": ("d.csv", 'text, label\na, "pos"\n"b, c", "neg"\n', ["line 2", "blank", "quote"]),
    "an open quote": ("d.csv", comma('"a,joy\n'), ["row 5 (line 6)", "Check its quotes"]),
    "ragged tabs": ("d.tsv", tabs("a\tb"), ["row 1 (line 2)", "3 fields"]),
    "tabs, partly quoted": ("d.tsv", 'text\tlabel\n"a\tb"\tpos\nsay "c"\tneg\n', ["line 3", "quote"]),
    "tabs, either way": ("d.tsv", 'text\tlabel\n"a\tb\nc"\tpos\n', ["the quote in line 2"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_with_a_sentence(kind: str, tmp_path: Path) -> None:
    name, content, said = REFUSED[kind]
    with pytest.raises(BadData) as refused:
        rows(tmp_path / name, content)
    for part in (name, *said):
        assert part in refused.value.message, refused.value.message
    assert refused.value.path == ["dataset", "source"]


@pytest.mark.parametrize("kind", ["Windows-1252", "MS-DOS", "a Mac", "encoded twice"])
def test_the_command_in_the_message_mends_the_file(kind: str, tmp_path: Path) -> None:
    name, content, _ = REFUSED[kind]
    with pytest.raises(BadData) as refused:
        rows(tmp_path / name, content)
    command = refused.value.message[refused.value.message.index("iconv ") :].removesuffix(".")
    subprocess.run(command, shell=True, check=True)
    mended = next(file for file in tmp_path.iterdir() if file.name != name)
    assert rows(mended, mended.read_bytes())[4][0].startswith("café")


def test_a_name_with_blanks_is_found_where_the_spec_has_them(tmp_path: Path) -> None:
    assert rows(tmp_path / "d.csv", "text, label\na,pos\nb,neg\n", {"text": "text", "label": " label"})[1] == (
        "b",
        "neg",
    )


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.full
def test_a_cell_of_twenty_megabytes(ending: str, tmp_path: Path) -> None:
    long = 'a long, "quoted" text ' * 1_000_000
    made = io.StringIO()
    csv.writer(made, delimiter="\t" if ending == "tsv" else ",").writerows(
        [("text", "label"), (long, "pos"), ("b", "neg")]
    )
    assert rows(tmp_path / f"d.{ending}", made.getvalue()) == [(long, "pos"), ("b", "neg")]
