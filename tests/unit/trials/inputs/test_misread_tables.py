"""Tables of text that are not what they seem: refused with the likely cause, and never read with shifted rows."""

from pathlib import Path

import pytest

from luthier.trials.errors import BadData
from tests.unit.trials.inputs.test_tables import GOOD, comma, rows

PAIRS = [(f"text {i}", ("pos", "neg")[i % 2]) for i in range(20)]


def made(form: str, head: str = "text,label\n", end: str = "\n") -> str:
    return head + "".join(form.format(i=i, text=text, label=label) + end for i, (text, label) in enumerate(PAIRS, 1))


TABS = made("{text}\t{label}", "text\tlabel\n")
REFUSED: dict[str, tuple[str, str, list[str]]] = {
    # name: (file name, content, what the sentence says)
    # the first line
    "comments first": ("d.csv", "# exported\n# 2024\n" + made("{text},{label}"), ["line 3 names the columns"]),
    "a title first": ("d.csv", "My export,,\n\n" + made("{text},{label},", "text,label,\n"), ["line 3 names the col"]),
    "carets": ("d.csv", made("{text}^{label}", "text^label\n"), ["separated by '^'", "write it with commas"]),
    "Hive": ("d.csv", made("{text}\x01{label}", "text\x01label\n"), [r"separated by '\x01'"]),
    "blanks": ("d.tsv", made("{text}   {label}", "text   label\n"), ["separated by blanks"]),
    "commas of full width": ("d.csv", made("{text}\uff0c{label}", "text\uff0clabel\n"), ["separated by '\uff0c'"]),
    "single quotes": ("d.csv", made("'{text}, a','{label}'", "'text','label'\n"), ["in the quotes '", 'quote with "']),
    "no header": ("d.csv", made("{text},{label}", ""), ["first line is a row", "'pos'", "each of its 2 columns"]),
    "no header, values twice": ("d.csv", made("0,{i},NO,NO,{text}", ""), ["first line is a row"]),
    "no header, tabs": ("d.tsv", made("{i}\t{label}\t{text}", ""), ["first line is a row", "its 3 columns"]),
    "lines in quotes": ("d.csv", made('"{text},{label}"', '"text,label"\n'), ["quotes as a whole", "around the lines"]),
    "JSON lines": ("d.csv", '{"text": "a", "label": "b"}\n', ["its first line is JSON", ".jsonl"]),
    "Markdown": ("d.csv", made("| {text} | {label} |", "| text | label |\n|---|---|\n"), ["line 2", "drawn"]),
    "psql": ("d.txt", made(" {text} | {label}", " text | label \n------+-------\n"), ["line 2", "drawn"]),
    "MySQL's client": ("d.csv", made("| {text} | {label} |", "+----+---+\n| text | label |\n"), ["line 1", "drawn"]),
    # the rows
    "separators at the ends": ("d.csv", made("{text},{label},"), ["each row ends with a separator"]),
    "names of rows": ("d.csv", made('"{i}","{text}","{label}"'), ["has 3 fields and the header 2", "as R writes them"]),
    "names of rows, tabs": ("d.tsv", made("{i}\t{text}\t{label}", "text\tlabel\n"), ["as R writes them"]),
    "typographic quotes": ("d.csv", made("“{text}, a”,{label}"), ["row 1 (line 2)", "in the quotes “"]),
    "carriage returns inside": ("d.csv", made("{text}\rmore,{label}"), ["row 1 (line 2)", r"tr -d '\r'"]),
    "the end mark of COPY": ("d.tsv", TABS + "\\.\n", ["line 22", "PostgreSQL's COPY"]),
    "the end mark of DOS": ("d.csv", made("{text},{label}") + "\x1a", ["line 22", "0x1A"]),
    "files joined": ("d.csv", made("{text},{label}") * 2, ["row 21 (line 22) is the header again"]),
    "files joined, with marks": ("d.csv", made("{text},{label}") + "\ufefftext,label\n", ["row 21"]),
    "files joined, another case": ("d.csv", made("{text},{label}") + "Text, LABEL\n", ["row 21"]),
    "files joined, tabs": ("d.tsv", TABS * 2, ["row 21 (line 22) is the header again"]),
    # cells
    "an empty text of a database": ("d.tsv", TABS + "\\N\tpos\n", [r"row 21 (line 22) has \N, a database's", "'text'"]),
    "an empty label of a database": ("d.tsv", TABS + "a\t\\N\n", [r"has \N, a database's mark", "'label'"]),
    "an error of a spreadsheet": ("d.csv", made("{text},{label}") + "a,#N/A\n", ["has #N/A, a spreadsheet's error"]),
    "a text that was a formula": ("d.csv", made("{text},{label}") + "#NAME?,pos\n", ["row 21", "has #NAME?", "'text'"]),
    "escaped tabs and line ends": ("d.tsv", TABS + "a\\\tb\\\nc\tpos\n", ["line 22 has a backslash", "ENCLOSED BY"]),
    "escaped line ends": ("d.tsv", TABS + "a\\\nc\tpos\n", ["line 22 has a backslash before"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_with_its_cause(kind: str, tmp_path: Path) -> None:
    name, content, said = REFUSED[kind]
    with pytest.raises(BadData) as refused:
        rows(tmp_path / name, content)
    for part in (name, *said):
        assert part in refused.value.message, refused.value.message
    assert refused.value.path == ["dataset", "source"]


READ: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "backslashes before tabs": ("d.tsv", "text\tlabel\nC:\\\tpos\nb\tneg\n", [("C:\\", "pos"), ("b", "neg")]),
    "marks without a width in the header": ("d.csv", comma(header="\u200btext,label\u200f"), GOOD),
    "dashes in a cell of two lines": ("d.csv", comma('"Dear all,\n-----\nBye",pos\n'),
        [*GOOD, ("Dear all,\n-----\nBye", "pos")]),
    "dashes": ("d.csv", comma("---,neg\n---,pos\n"), [*GOOD, ("---", "neg"), ("---", "pos")]),
    "the names of columns as values": ("d.csv", comma("text,pos\nlabel,neg\n"),
        [*GOOD, ("text", "pos"), ("label", "neg")]),
    "an error inside a text": ("d.csv", comma("I see #N/A here,neg\n"), [*GOOD, ("I see #N/A here", "neg")]),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_what_only_looks_so_is_read(kind: str, tmp_path: Path) -> None:
    name, content, expected = READ[kind]
    assert rows(tmp_path / name, content) == expected
