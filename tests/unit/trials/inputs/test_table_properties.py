"""Any table that is written as programs write tables, and read back, is equal or refused, never another."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas
import pyarrow.csv
import pytest

from luthier.trials.data.located import locate
from luthier.trials.data.sources import read
from luthier.trials.errors import BadData

hypothesis = pytest.importorskip("hypothesis")  # of the extra `dev`; an older environment may lack it
assume, given, settings, st = hypothesis.assume, hypothesis.given, hypothesis.settings, hypothesis.strategies

Row = tuple[str, str]
Write = Callable[[Sequence[Row]], str]

CHARACTERS = "ab ,;|\t\n\"\\'é\u2019\u2028\x85\x0c="  # none that is in a label, so that no row looks like two
TEXTS = st.text(CHARACTERS, max_size=8)
TABLES = st.lists(st.tuples(TEXTS, st.sampled_from(["pos", "neg", "x, y"])), min_size=1, max_size=6)
LIMITS = settings(max_examples=20, deadline=None, database=None, derandomize=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def returned(path: Path, content: bytes) -> list[Row] | None:
    """Return the rows that a file with this content gives, or None where it is refused with a sentence."""
    path.write_bytes(content)
    try:
        table = read(locate(str(path), "dataset", "source"), {"text": "text", "label": "label"})
    except BadData as error:
        message = error.message
    else:
        return list(zip(table.columns["text"], table.columns["label"], strict=True))
    assert path.name in message, message
    assert message.endswith("."), message
    return None


def by_csv(end: str = "\r\n", **dialect: object) -> Write:
    """Return a writer: Python's csv module with this dialect."""

    def write(rows: Sequence[Row]) -> str:
        made = io.StringIO()
        csv.writer(made, lineterminator=end, **dialect).writerows([("text", "label"), *rows])  # type: ignore[arg-type]
        return made.getvalue()

    return write


def by_pandas(**options: object) -> Write:
    """Return a writer: pandas with these options."""

    def write(rows: Sequence[Row]) -> str:
        frame = pandas.DataFrame(rows, columns=["text", "label"])
        return str(frame.to_csv(**options))  # type: ignore[call-overload]

    return write


def by_polars(separator: str, always: bool = False) -> Write:
    """Return a writer with the defaults of polars: quotes where needed, and around an empty text."""

    def cell(value: str) -> str:
        bare = value and not always and not any(c in value for c in f'"\r\n{separator}')
        return value if bare else '"' + value.replace('"', '""') + '"'

    return lambda rows: "".join(separator.join(map(cell, row)) + "\n" for row in [("text", "label"), *rows])


def by_arrow(rows: Sequence[Row]) -> str:
    made = io.BytesIO()
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    pyarrow.csv.write_csv(pyarrow.table(columns), made)
    return made.getvalue().decode()


def by_spark(rows: Sequence[Row]) -> str:
    """Write with the defaults of Spark: quotes where needed; inside them, backslashes escape quotes and themselves."""

    def cell(value: str) -> str:
        bare = value and not any(c in value for c in '",\n')
        return value if bare else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "".join(",".join(map(cell, row)) + "\n" for row in [("text", "label"), *rows])


WRITERS: dict[str, tuple[str, Write]] = {
    "csv": ("d.csv", by_csv()),
    "csv, \\n": ("d.csv", by_csv("\n")),
    "csv, \\r": ("d.csv", by_csv("\r", quoting=csv.QUOTE_ALL)),
    "csv, unix": ("d.csv", by_csv("\n", quoting=csv.QUOTE_ALL)),
    "csv, text quoted": ("d.csv", by_csv(quoting=csv.QUOTE_NONNUMERIC)),
    "csv, tabs": ("d.tsv", by_csv("\n", delimiter="\t")),
    "csv, tabs, all quoted": ("d.tsv", by_csv(delimiter="\t", quoting=csv.QUOTE_ALL)),
    "csv, semicolons": ("d.csv", by_csv(delimiter=";")),
    "csv, bars": ("d.csv", by_csv(delimiter="|")),
    "csv, tabs in csv": ("d.csv", by_csv(delimiter="\t")),
    "pandas": ("d.csv", by_pandas(index=False)),
    "pandas with its index": ("d.csv", by_pandas()),
    "pandas, tabs": ("d.tsv", by_pandas(index=False, sep="\t")),
    "pandas, tabs with its index": ("d.tsv", by_pandas(sep="\t")),
    "pandas, all quoted": ("d.csv", by_pandas(index=False, quoting=csv.QUOTE_ALL)),
    "polars": ("d.csv", by_polars(",")),
    "polars, tabs": ("d.tsv", by_polars("\t")),
    "polars, always": ("d.tsv", by_polars("\t", always=True)),
    "arrow": ("d.csv", by_arrow),
    "Excel, sep=": ("d.csv", lambda rows: "sep=;\r\n" + by_csv(delimiter=";")(rows)),
    "Excel, empty cells": (
        "d.csv",
        lambda rows: by_csv()([(*row, "", "") for row in rows]).replace("text,label", "text,label,,") + ",,,\r\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS)
def test_what_programs_write_is_read_or_refused(writer: str, folder: Path) -> None:
    name, write = WRITERS[writer]

    @LIMITS
    @given(TABLES)
    def check(rows: list[Row]) -> None:
        assert returned(folder / name, write(rows).encode()) in (rows, None)

    check()


@pytest.mark.parametrize("writer", WRITERS)
def test_usual_text_is_never_refused(writer: str, folder: Path) -> None:
    name, write = WRITERS[writer]
    usual = st.lists(
        st.sampled_from(["a", "film", "it's", "5", "well,", "a;b", '"so"', "é", "\n"]), min_size=1, max_size=6
    )

    @LIMITS
    @given(st.lists(st.tuples(usual.map(" ".join), st.sampled_from(["pos", "neg"])), min_size=1, max_size=6))
    def check(rows: list[Row]) -> None:
        assert returned(folder / name, write(rows).encode()) == rows

    check()


@LIMITS
@given(TABLES)
def test_what_spark_writes_is_read_or_refused(folder: Path, rows: list[Row]) -> None:
    written = by_spark(rows)
    assume('\\"' in written or "\\" not in written)  # without an escaped quote, backslashes tell nothing
    assert returned(folder / "d.csv", written.encode()) in (rows, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32"])
def test_encodings_are_read_or_refused(encoding: str, folder: Path) -> None:
    @LIMITS
    @given(
        st.lists(
            st.tuples(st.text('aé\u2019 "\n,', max_size=8), st.sampled_from(["pos", "neg"])), min_size=1, max_size=6
        )
    )
    def check(rows: list[Row]) -> None:
        assert returned(folder / "d.csv", by_csv()(rows).encode(encoding)) in (rows, None)

    check()


@LIMITS
@given(st.lists(st.tuples(st.text("ab \"'\\,é", max_size=8), st.sampled_from(["pos", "neg"])), min_size=1, max_size=8))
def test_quotes_between_tabs_are_text(folder: Path, rows: list[Row]) -> None:
    assume(not any(len(text) > 1 and text[0] == text[-1] == '"' for text, _ in rows))  # such a cell may be quoted
    written = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
    assert returned(folder / "d.tsv", written.encode()) in (rows, None)


@pytest.mark.parametrize("orient", ["records", "lines", "columns", "index", "split", "table", "list"])
def test_json_of_pandas_is_read_or_refused(orient: str, folder: Path) -> None:
    @LIMITS
    @given(TABLES)
    def check(rows: list[Row]) -> None:
        frame = pandas.DataFrame(rows, columns=["text", "label"])
        if orient == "lines":
            written = frame.to_json(orient="records", lines=True)
        elif orient == "list":
            written = json.dumps(frame.to_dict(orient="list"))
        else:
            written = frame.to_json(orient=orient)  # type: ignore[call-overload]
        assert returned(folder / ("d.jsonl" if orient == "lines" else "d.json"), written.encode()) == rows

    check()


WORDS = st.text('ab#"\\-=:é\xa0\u2028\x85', min_size=1, max_size=5)
SENTENCES = st.lists(
    st.lists(st.tuples(WORDS, st.sampled_from(["O", "B-X", "I-X", "B-Y"])), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)
FORMS = {
    "blanks": ("d.conll", "{word} {tag}"),
    "tabs": ("d.conll", "{word}\t{tag}"),
    "txt": ("d.txt", "{word} NN _ {tag}"),
    "tsv": ("d.tsv", "{word}\t{tag}"),
    "counter": ("d.conll", "{i}\t{word}\t{tag}"),
    "GermEval": ("d.tsv", "{i}\t{word}\t{tag}\tO"),
    "CoNLL-U": ("d.conllu", "{i}\t{word}\t_\tX\t_\t_\t0\t_\t_\tNER={tag}"),
}


@pytest.mark.parametrize("form", FORMS)
def test_tagged_words_are_read_or_refused(form: str, folder: Path) -> None:
    name, line = FORMS[form]

    @LIMITS
    @given(SENTENCES)
    def check(rows: list[list[tuple[str, str]]]) -> None:
        blocks = ("".join(line.format(i=i, word=w, tag=t) + "\n" for i, (w, t) in enumerate(row, 1)) for row in rows)
        (folder / name).write_bytes("\n".join(blocks).encode())
        try:
            table = read(locate(str(folder / name), "dataset", "source"), {"tokens": "tokens", "label": "ner_tags"})
        except BadData:
            return
        assume("ner_tags" in table.columns)  # no tag but O
        pairs = zip(table.columns["tokens"], table.columns["ner_tags"], strict=True)
        assert [list(zip(words, tags, strict=True)) for words, tags in pairs] == rows

    check()
