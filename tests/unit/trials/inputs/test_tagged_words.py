"""Tagged words as people have them: words and tags are told apart by what they are, or the spec has to say which."""

from pathlib import Path
from typing import Any

import pytest

from luthier.trials.data.located import locate
from luthier.trials.data.sources import read
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

ROLES = {"tokens": "tokens", "label": "ner_tags"}
Sentences = list[tuple[list[str], list[str]]]
TWO: Sentences = [(["Ada", "met", "Bo"], ["B-PER", "O", "B-PER"]), (["No", "name"], ["O", "O"])]


def table(path: Path, content: str | bytes, roles: dict[str, str] = ROLES) -> Table:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(locate(str(path), "dataset", "source"), roles)


def sentences(path: Path, content: str | bytes, roles: dict[str, str] = ROLES) -> Any:
    found = table(path, content, roles)
    assert found.lines is None or len(found.lines) == found.rows
    return list(zip(found.columns[roles["tokens"]], found.columns[roles["label"]], strict=True))


def lines(form: str, between: str = "\n", before: str = "") -> str:
    """Return the two sentences: `form` with {i}, {word} and {tag} for each word."""
    made = [
        before
        + "".join(
            form.format(i=i, word=word, tag=tag) + "\n" for i, (word, tag) in enumerate(zip(*both, strict=True), 1)
        )
        for both in TWO
    ]
    return between.join(made) + between


UNIVERSAL = "{i}\t{word}\tlemma\tNOUN\t_\tNumber=Sing\t0\troot\t_\t"
GERMAN = "{i}\t{word}\t{tag}\tO"
KAGGLE = (
    "Sentence #,Word,POS,Tag\nSentence: 1,Ada,NNP,B-PER\n,met,VBD,O\n,Bo,NNP,B-PER\nSentence: 2,No,DT,O\n,name,NN,O\n"
)
READ: dict[str, tuple[str, str, dict[str, str]]] = {
    # name: (file name, content, columns that the spec names)
    "plain": ("d.conll", lines("{word} {tag}"), {}),
    "CoNLL-2003": ("d.txt", "-DOCSTART- -X- -X- O\n\n" + lines("{word} NN I-NP {tag}"), {}),
    "document starts alone": ("d.conll", "-DOCSTART-\n\n" + lines("{word}\t{tag}"), {}),
    "document starts before each": ("d.conll", lines("{word}\t{tag}", before="-DOCSTART-\tO\n"), {}),
    "Windows line ends": ("d.txt", lines("{word}\t{tag}").replace("\n", "\r\n"), {}),
    "several blank lines": ("d.iob2", lines("{word}\t{tag}", between="\n \n\t\n"), {}),
    "a counter": ("d.conll", lines("{i} {word} {tag}"), {}),
    "a counter from 0": (
        "d.conll", lines("{i} {word} {tag}").replace("1 ", "0 ").replace("2 ", "1 ").replace("3 ", "2 "), {},
    ),
    "a counter over the file": ("d.conll", "1 Ada B-PER\n2 met O\n3 Bo B-PER\n\n4 No O\n5 name O\n", {}),
    "a counter with zeros": ("d.conll", lines("00{i} {word} {tag}"), {}),
    "a counter with a point": ("d.txt", lines("{i}.\t{word}\t{tag}"), {}),
    "a counter behind the sentence's number": (
        "d.tsv", "1-1\tAda\tB-PER\n1-2\tmet\tO\n1-3\tBo\tB-PER\n\n2-1\tNo\tO\n2-2\tname\tO\n", {},
    ),
    "a counter and document starts": ("d.conll", "1\t-DOCSTART-\tO\n\n" + lines("{i}\t{word}\t{tag}"), {}),
    "GermEval": ("d.tsv", lines(GERMAN, before="#\thttp://de.wikipedia.org/Ada [2009-10-17]\n"), {}),
    "GermEval, the spec names the column": (
        "d.tsv", lines(GERMAN).replace("Ada\tB-PER\tO", "Ada\tB-PER\tB-LOC"), {"label": "column_3"},
    ),
    "Universal NER": ("d.iob2", lines("{i}\t{word}\t{tag}\t-\tannotator", before="# sent_id = 7\n# text = Ada\n"), {}),
    "MultiCoNER": ("d.conll", lines("{word} _ _ {tag}", before="# id 4fa-12\tdomain=train\n"), {}),
    "CoNLL-U, tags in MISC": ("d.conllu", lines(UNIVERSAL + "NER={tag}|SpaceAfter=No", before="# sent_id = 1\n"), {}),
    "CoNLL-U, entities only in MISC": (
        "d.conllu", lines(UNIVERSAL + "name={tag}").replace("name=O", "SpaceAfter=No"), {},
    ),
    "CoNLL-U, MISC is the tag": ("d.conllu", lines(UNIVERSAL + "{tag}").replace("\tO\n", "\t_\n"), {}),
    "CoNLL-U with ranges": (
        "d.conllu",
        lines(UNIVERSAL + "NER={tag}").replace("2\tmet", "2-3\tmetBo" + "\t_" * 8 + "\n2\tmet")
        .replace("3\tBo", "2.1\tnode" + "\t_" * 8 + "\n3\tBo"),
        {},
    ),
    "CoNLL-U Plus": (
        "d.conllu", "# global.columns = ID FORM NER X\n" + lines("{i}\t{word}\t{tag}\tO"), {"label": "ner"},
    ),
    "CoNLL-U, the spec names the column": (
        "d.conllu", lines(UNIVERSAL.replace("NOUN", "{tag}") + "_"), {"label": "upos"},
    ),
    "the tag first, as in the MIT corpora": ("d.bio", lines("{tag}\t{word}"), {}),
    "the tag first, the spec names the columns": (
        "d.conll", lines("{tag} {word} NN"), {"tokens": "column_2", "label": "column_1"},
    ),
    "headless tsv": ("d.tsv", lines("{word}\t{tag}"), {}),
    "headless tsv with columns between": ("d.tsv", lines("{word}\tNN\t{tag}"), {}),
    "Kaggle": ("d.csv", KAGGLE, {"tokens": "Word", "label": "Tag"}),
    "a sentence on each row": (
        "d.csv", "sentence_id,tokens,ner_tags\ns1,Ada,B-PER\ns1,met,O\ns1,Bo,B-PER\ns2,No,O\ns2,name,O\n", {},
    ),
    "blank lines below a header": ("d.tsv", "tokens\tner_tags\n" + lines("{word}\t{tag}"), {}),
    "blank lines below a header, commas": ("d.csv", "tokens,ner_tags\n" + lines("{word},{tag}"), {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_words_and_tags(kind: str, tmp_path: Path) -> None:
    name, content, columns = READ[kind]
    assert sentences(tmp_path / name, content, ROLES | columns) == TWO


def test_words_that_look_like_comments_or_blanks_are_words(tmp_path: Path) -> None:
    content = "# sent_id = 1\n#\tO\n#film\tO\nNew York\tB-LOC\n1 000\tO\n\n#one\tB-LOC\n\xa0\tO\n"
    found = sentences(tmp_path / "d.conll", content)
    assert found == [
        (["#", "#film", "New York", "1 000"], ["O", "O", "B-LOC", "O"]),
        (["#one", "\xa0"], ["B-LOC", "O"]),
    ]


def test_numbers_as_words_are_no_counter(tmp_path: Path) -> None:
    found = sentences(tmp_path / "d.conll", "1 B-CARDINAL\ndog O\n\n7 B-CARDINAL\ncats O\n")
    assert [words for words, _ in found] == [["1", "dog"], ["7", "cats"]]


def test_other_columns_can_be_named(tmp_path: Path) -> None:
    found = sentences(tmp_path / "d.conll", lines("{word} NN {tag}"), ROLES | {"label": "column_2"})
    assert found[1] == (["No", "name"], ["NN", "NN"])


def test_a_group_of_a_sentence(tmp_path: Path) -> None:
    content = "sentence_id,doc,tokens,ner_tags\n1,a,Ada,B-PER\n1,a,met,O\n2,b,No,O\n"
    found = table(tmp_path / "d.csv", content, ROLES | {"group": "doc"})
    assert found.columns["doc"] == ["a", "b"]
    with pytest.raises(BadData, match=r"row 1 \(line 2\): column 'doc' differs within the sentence"):
        table(tmp_path / "d.csv", content.replace("1,a,met", "1,b,met"), ROLES | {"group": "doc"})


REFUSED: dict[str, tuple[str, str, list[str]]] = {
    # name: (file name, content, what the sentence says)
    "two columns of tags": (
        "d.tsv", lines(GERMAN).replace("Ada\tB-PER\tO", "Ada\tB-PER\tB-LOC"),
        ["column_3, column_4 hold tags", "dataset.columns.label"],
    ),
    "CoNLL-U without entities": (
        "d.conllu", lines(UNIVERSAL + "_"), ["no column holds tags", "dataset.columns.label", "upos"],
    ),
    "a counter and a word": ("d.conll", lines("{i} {word}"), ["line 1", "a number and one more column"]),
    "a counter with a gap": (
        "d.conll", lines("{i} {word} {tag}") * 2 + "1 a O\n3 b O\n", ["line 16", "counts the words", "'3'"],
    ),
    "a counter that does not start again": (
        "d.conll", lines("7{i} {word} NN {tag}") + "\n3 a NN O\n",
        ["line 1", "all numbers such as '71'", "columns.tokens"],
    ),
    "places in the text where words belong": (
        "d.tsv", lines("1-{i}\t0-{i}\t{word}\t{tag}") * 2, ["line 1", "all numbers such as '0-1'", "columns.tokens"],
    ),
    "a missing tag": ("d.conll", lines("{word}\t{tag}") + "Bo\t\n", ["line 8", "1 columns where others have 2"]),
    "a word of too many columns": ("d.conll", "Ada B-PER\n#a film O\n", ["line 2", "3 columns"]),
    "a header": ("d.conll", "word tag\n" + lines("{word} {tag}"), ["line 1", "'tag' is no tag", "header"]),
    "tags in the middle": ("d.conll", lines("{word} {tag} NN"), ["B-PER are in column_2", "(label)"]),
    "CoNLL-2012": (
        "d.conll", "#begin document (a); part 000\n" + lines("bc/a 0 {i} {word} NN (TOP* - - - - (PERSON) -"),
        ["CoNLL-2012", "convert them to tags"],
    ),
    "ends of lines doubled": (
        "d.conll", lines("{word}\t{tag}").replace("\n", "\r\r\n") * 2, ["a blank line after each line"],
    ),
    "ends of rows doubled": (
        "d.csv", ("tokens,ner_tags\n" + lines("{word},{tag}") * 2).replace("\n", "\r\r\n"),
        ["each word would be a sentence of its own"],
    ),
    "an id for each word": (
        "d.csv", "sent_id,tokens,ner_tags\n" + "".join(f"{i},word,O\n" for i in range(6)), ["column sentence_id"],
    ),
    "no blank lines": ("d.conll", lines("{word}\t{tag}", between="") * 20, ["no blank lines", "100 words"]),
    "no sentences": ("d.csv", "tokens,ner_tags\nAda,B-PER\nmet,O\n", ["a word a row", "sentence_id"]),
    "a sentence in two places": (
        "d.csv", "sentence_id,tokens,ner_tags\n1,Ada,B-PER\n2,met,O\n1,Bo,B-PER\n",
        ["row 3 (line 4)", "was there before"],
    ),
    "words before a sentence": (
        "d.csv", KAGGLE.replace("Sentence: 1", ""), ["row 1 (line 2)", "'Sentence #' is empty"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_certain_is_refused(kind: str, tmp_path: Path) -> None:
    name, content, said = REFUSED[kind]
    roles = ROLES | ({"tokens": "Word", "label": "Tag"} if "Word" in content else {})
    with pytest.raises(BadData) as refused:
        table(tmp_path / name, content, roles)
    for part in (name, *said):
        assert part in refused.value.message, refused.value.message
    assert refused.value.message.endswith(".")
