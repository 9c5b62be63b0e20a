"""Sentences of tagged words as the shared tasks of CoNLL write them: a word a line, a blank line between.

`data.readers` calls `read_conll`. By default the word is first in a line and its tag last. Where the first column
counts the words (CoNLL-U, GermEval), the columns are told apart by what they hold; what is not certain is refused, with
the names that the spec can choose from.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.trials.data.tabular import Table
from luthier.trials.data.text_files import TextFile, read_text

_BLANKS = re.compile(r"[ \t]+")
_TAB = re.compile(r" *\t *")
_PROPERTY = re.compile(r"#\s+[\w.:-]+(\s+[\w.:-]+)?\s*=(\s|$)")  # CoNLL-U: # sent_id = 7
_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
_TAG = re.compile(r"O|[BIESLUM]-\S+")
_NO_WORD = re.compile(r"\d+-\d+|\d+\.\d+")  # CoNLL-U's multiword tokens, whose words follow, and its empty nodes
_COUNTER = re.compile(r"(?:\d+[-.:_/])?0*(\d+)[.:)]?")  # 7, 007, 7., or behind the number of the sentence: 2-7
_NUMBERS = re.compile(r"[\d\s.,:;/()_-]*\d[\d\s.,:;/()_-]*")  # no word in any language
_UNIVERSAL = ("tokens", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_START = "-DOCSTART-"
ALONE = 5  # sentences of one word; a file of more of them, and no others, has its ends of lines doubled
_LONGEST = 50  # words of a file's only sentence; a longer one is a file without blank lines


@dataclass
class _Line:
    """A line with a word: its number in the file, and its fields."""

    number: int
    cells: list[str]


def read_conll(file: Path, name: str, selection: set[str], path: tuple[str, ...]) -> Table:
    """Read the sentences of a CoNLL file as lists of words (tokens) and of tags (ner_tags), and of other columns.

    Raises:
        BadData: Lines differ in their number of fields, or it is not certain which column holds the tags.
    """
    return sentences(read_text(file, name, path), selection)


def sentences(file: TextFile, selection: set[str]) -> Table:
    """Return the table of a CoNLL file that is read already. Raises BadData."""
    rows, names = _sentences(file)
    if len(rows) == 1 and len(rows[0]) > _LONGEST:
        text = f" has no blank lines, so its {len(rows[0]):,} words are one sentence; put one after each sentence."
        raise file.refuse(text)
    if len(rows) > ALONE and all(len(row) == 1 for row in rows):
        text = (
            " has a blank line after each line, so each word is a sentence of its own; remove those inside sentences."
        )
        raise file.refuse(text)
    columns = {}
    if rows:
        columns = _counted(file, rows, names, selection) if _is_counted(file, rows) else _plain(file, rows, selection)
    chosen = {column: values for column, values in columns.items() if column in selection}
    _check_words(file, rows, chosen)
    header = list(columns) or ["tokens", "ner_tags"]
    return Table(file.name, file.path, header, chosen, len(rows), lines=[row[0].number for row in rows])


def _check_words(file: TextFile, rows: list[list[_Line]], chosen: dict[str, list[list[str]]]) -> None:
    """Check that the words are not all numbers: such a column counts or measures them. Raises BadData."""
    words = [word for row in chosen.get("tokens", ()) for word in row]
    if len(words) > ALONE and all(map(_NUMBERS.fullmatch, words)):
        text = f", line {rows[0][0].number}: the words are all numbers such as {words[0]!r}; "
        raise file.refuse(text + "say in dataset.columns.tokens which column holds the words: column_1, column_2, ...")


def looks_tagged(file: TextFile) -> bool:
    """Return whether a file of tabs holds sentences and no header: each line ends with a tag."""
    lines = [line.rstrip("\r\n").split("\t") for line in file.lines() if line.strip() and not line.startswith("#")]
    return len(lines) > 1 and all(len(cells) > 1 and _TAG.fullmatch(cells[-1]) for cells in lines)


def _plain(file: TextFile, rows: list[list[_Line]], selection: set[str]) -> dict[str, list[list[str]]]:
    """Return the columns of a file whose words are first, and whose tags are last. Raises BadData for a header."""
    first = rows[0][0]
    width = len(first.cells)
    others = [line.cells[-1] for row in rows for line in row][1:]
    if not _TAG.fullmatch(first.cells[-1]) and _are_tags([others]):
        text = f", line {first.number}: {first.cells[-1]!r} is no tag as the others are; a header has to be removed."
        raise file.refuse(text)
    tagged = [i for i in range(width) if _are_tags(_column(rows, i))]
    if tagged == [0] and width == 2:  # the tag first, as in the MIT corpora
        return {"tokens": _column(rows, 1), "ner_tags": _column(rows, 0)}
    if tagged and width - 1 not in tagged and "ner_tags" in selection:
        where = ", ".join(f"column_{i + 1}" for i in tagged)
        text = f": tags such as {rows[0][0].cells[tagged[0]]} are in {where}, and not last in a line; say in "
        raise file.refuse(text + "dataset.columns which columns are the words (tokens) and the tags (label).")
    columns = {"tokens": _column(rows, 0), "ner_tags": _column(rows, -1)}
    return columns | {f"column_{i + 1}": _column(rows, i) for i in range(width) if width > 2}


def _column(rows: list[list[_Line]], index: int) -> list[list[str]]:
    return [[line.cells[index] for line in row] for row in rows]


def _sentences(file: TextFile) -> tuple[list[list[_Line]], list[str]]:
    """Return the lines of each sentence, and the names that a comment gives the columns. Raises BadData."""
    names: list[str] = []
    texts = [(number, line.strip(" \t\r\n")) for number, line in enumerate(file.lines(), 1)]
    body = [(n, text) for n, text in texts if text and not text.startswith("#") and _START not in text]
    body = body or [(n, text) for n, text in texts if text and _START not in text]
    with_tabs = bool(body) and len({text.count("\t") for _, text in body}) == 1 and "\t" in body[0][1]
    split = (_TAB if with_tabs else _BLANKS).split
    width = len(split(body[0][1])) if body else 0
    if any(text.startswith("#begin document") for _, text in texts):
        text = (
            " is in the format of CoNLL-2012, whose entities are brackets ((PERSON*); convert them to tags (B-PERSON)."
        )
        raise file.refuse(text)
    if body and width < 2:
        raise file.refuse(f", line {body[0][0]}: 1 columns; a line holds a word, and last its tag.")
    tags = {split(text)[-1] for _, text in body}
    rows: list[list[_Line]] = []
    new = True
    for number, text in texts:
        cells = split(text)
        if not text or any(cell.startswith(_START) for cell in cells[:2]):
            new = True
        elif text.startswith("#") and _is_comment(text, cells, width, tags, new):
            names = found[1].split() if (found := _COLUMNS.match(text)) else names
        elif len(cells) != width:
            said = f", line {number}: {len(cells)} columns where others have {width}; "
            raise file.refuse(said + "a line holds a word, and last its tag.")
        else:
            if new:
                rows.append([])
            rows[-1].append(_Line(number, cells))
            new = False
    return rows, names


def _is_comment(text: str, cells: list[str], width: int, tags: set[str], first: bool) -> bool:
    """Return whether a line that starts with # is no word; `first`: no word of its sentence came before it."""
    if _PROPERTY.match(text):
        return True
    if len(cells) != width:
        return first or "=" in text or text.startswith(("##", "# "))
    tag = cells[-1]
    return first and tag not in tags and tag != "#" and not _TAG.fullmatch(tag)


def _is_counted(file: TextFile, rows: list[list[_Line]]) -> bool:
    """Return whether the first column counts the words. Raises BadData where it does so in most sentences only."""
    ids = [[_count(line) for line in row] for row in _words(rows)]
    flat = [cell for row in ids for cell in row]
    if not flat or not flat[0].isdecimal():
        return False
    start = int(flat[0])
    if len(flat) > 2 and flat == [str(i) for i in range(start, start + len(flat))]:  # through the whole file
        return True
    wrong = [i for i, row in enumerate(ids) if row != [str(k) for k in range(start, start + len(row))] or start > 1]
    if not wrong:
        return max(map(len, ids)) > 1 or len(rows[0][0].cells) > 2
    if len(wrong) * 2 > len(ids):
        return False
    line = next((line for k, line in enumerate(rows[wrong[0]], start) if _count(line) != str(k)), rows[wrong[0]][0])
    raise file.refuse(
        f", line {line.number}: the first column counts the words of other sentences, and here it holds "
        f"{line.cells[0]!r}; mend the line, or put a blank line between sentences."
    )


def _words(rows: list[list[_Line]]) -> list[list[_Line]]:
    """Return the lines that are words: CoNLL-U also counts others, by 3-4 or 3.1; a file may count all so."""
    words = [[line for line in row if not _NO_WORD.fullmatch(line.cells[0])] for row in rows]
    return words if any(words) else rows


def _count(line: _Line) -> str:
    """Return what a line's counter says without what is written around it; any other first field as it is."""
    counter = _COUNTER.fullmatch(line.cells[0])
    return counter[1] if counter else line.cells[0]


def _counted(
    file: TextFile, rows: list[list[_Line]], names: list[str], selection: set[str]
) -> dict[str, list[list[str]]]:
    """Return the columns of a file whose first column counts the words. Raises BadData where the tags are uncertain."""
    rows[:] = [row for row in _words(rows) if row]
    width = len(rows[0][0].cells)
    if width < 3:
        text = f", line {rows[0][0].number}: a number and one more column; a line holds a word, and last its tag."
        raise file.refuse(text)
    universal = width == len(_UNIVERSAL) + 1
    columns = {name: _column(rows, i) for i, name in _named(names, width, universal)}
    if "misc" in columns:
        whole = [["O" if cell == "_" else cell for cell in row] for row in columns["misc"]]
        columns |= {"misc": whole} if _are_tags(whole) else _inside_misc(columns["misc"])
    tagged = [name for name, values in columns.items() if name != "tokens" and _are_tags(values)]
    if not tagged and width == 3:
        tagged = list(columns)[-1:]
    if len(tagged) == 1:
        return columns | {"ner_tags": columns[tagged[0]]}
    if "ner_tags" in selection - set(columns):
        said = f"{', '.join(tagged)} hold tags" if tagged else "no column holds tags such as B-PER"
        others = ", ".join(tagged or [name for name in columns if name != "tokens"])
        raise file.refuse(f": {said}; say in dataset.columns.label which it is: {others}.")
    return columns


def _named(names: list[str], width: int, universal: bool) -> Iterator[tuple[int, str]]:
    """Yield the index and the name of each column but the counter."""
    known = [name.lower() for name in names] if len(names) == width else []
    for i in range(1, width):
        if known:
            yield i, {"form": "tokens"}.get(known[i], known[i])
        elif universal:
            yield i, _UNIVERSAL[i - 1]
        else:
            yield i, "tokens" if i == 1 else f"column_{i + 1}"


def _are_tags(values: list[list[str]]) -> bool:
    """Return whether all of a column's values are tags such as B-PER and O, and one of them is more than O."""
    found = {value for row in values for value in row}
    return len(found) > 1 and all(map(_TAG.fullmatch, found))


def _inside_misc(misc: list[list[str]]) -> dict[str, list[list[str]]]:
    """Return the columns inside CoNLL-U's last one (NER=B-PER|SpaceAfter=No) that hold tags; a word without has O."""
    pairs = [[dict(pair.split("=", 1) for pair in cell.split("|") if "=" in pair) for cell in row] for row in misc]
    keys = {key: None for row in pairs for word in row for key in word}
    columns = {f"misc.{key}": [[word.get(key, "O") for word in row] for row in pairs] for key in keys}
    return {name: values for name, values in columns.items() if _are_tags(values)}
