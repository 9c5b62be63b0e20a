"""Transcripts: what is refused, what is made alike, and what is told."""

import csv
from pathlib import Path

import pytest

from luthier.studies.dataset import Dataset
from luthier.studies.documents import DocumentError
from luthier.studies.findings import Finding
from luthier.studies.spec import StudySpec
from luthier.trials.data.load import Data, load_data
from luthier.trials.data.transcript_findings import transcript_findings
from luthier.trials.data.transcripts import Transcripts
from luthier.trials.errors import BadData
from tests.support.tiny_speech import tiny_speech

TASK = "automatic-speech-recognition"
FINE = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


def read(folder: Path, texts: list[str]) -> Data:
    """Load as many recordings with these texts, in place of their own."""
    table = tiny_speech(folder, len(texts))
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("audio", "text"), *((f"{i}.wav", text) for i, text in enumerate(texts))])
    return load_data(Dataset(source=str(table), validation=0.3), TASK, Transcripts, seed=0, verify=True)


def told(code: str, **splits: list[str]) -> list[Finding]:
    """Return the findings of a code about the transcripts of some splits."""
    return [finding for finding in transcript_findings(splits) if finding.code == code]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("one|two", "holds |, which stands for the blank"),
        ("gr\N{REPLACEMENT CHARACTER}n", "a letter that was lost; save the file in UTF-8"),
        ("one\x1btwo", r"holds '\x1b', which is no letter; remove it"),
        ("one\u200btwo", "(zero width space), which nobody sees or says; remove it"),
        ("\u202eone", "(right-to-left override), which nobody sees"),
        ("\N{ELEMENT OF}", "in which no word is said; write what is said, or remove the row"),
        ("...", "holds '...', in which no word is said"),
    ],
)
def test_a_text_that_is_no_transcript_is_refused(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(BadData) as refused:
        read(tmp_path, [*FINE[:2], text, *FINE[3:]])
    assert fault in refused.value.message
    assert "row 3" in refused.value.message or "line 4" in refused.value.message
    assert "'text'" in refused.value.message


def test_white_space_and_unicode_forms_are_alike(tmp_path: Path) -> None:
    data = read(tmp_path, [*FINE, " caf\u00e9\t noir ", "cafe\u0301\n noir"])
    texts = [text for split in data.splits.values() for text in split.targets]
    assert texts.count("caf\u00e9 noir") == 2
    assert "\u00e9" in data.targets.about["letters"]
    assert not {" ", "\t", "\u0301"} & set(data.targets.about["letters"])


def test_letters_are_in_one_order_whatever_the_rows(tmp_path: Path) -> None:
    first, second = read(tmp_path / "a", FINE), read(tmp_path / "b", FINE[::-1])
    assert first.targets == second.targets
    assert first.targets.about["letters"] == sorted(set("".join(FINE)))
    assert first.fingerprint != second.fingerprint


def test_letters_that_are_never_trained_are_told() -> None:
    (finding,) = told("letters-not-in-training", train=["one", "two"], test=["one", "na\u00efve \u0301"])
    assert "1 of 2 test transcripts" in finding.message
    assert "\u00ef" in finding.message
    assert "U+0301" in finding.message, "what cannot be seen alone has its number"
    assert finding.severity == "warning"
    assert finding.examples[0].startswith("row 2 of the test split: 'na\u00efve")


def test_what_a_recording_does_not_tell_is_told() -> None:
    texts = ["it's 5 o'clock", "Well, yes", "semi-final", "plain", "LOUD"]
    found = transcript_findings({"train": texts, "validation": ["plain"]})
    counts = {finding.code: finding.count for finding in found}
    assert counts == {
        "digits-in-transcripts": 1,
        "punctuation-in-transcripts": 1,
        "capitals-in-transcripts": 1,
    }
    assert all(finding.severity == "note" and finding.cure for finding in found)


def test_rare_letters_are_told_where_there_are_many_transcripts() -> None:
    texts = [f"{one} {two}" for one in FINE for two in FINE] * 2
    assert not told("rare-letters", train=texts)
    (finding,) = told("rare-letters", train=[*texts, "\u00a7 one"])
    assert "\u00a7" in finding.message
    assert finding.examples == [f"row {len(texts) + 1} of the train split: '\u00a7 one'"]
    chinese = ["".join(chr(0x4E00 + 5 * i + j) for j in range(5)) for i in range(120)]
    assert not told("rare-letters", train=chinese), "where most letters are rare, none is a slip"


def test_one_text_for_all_and_texts_that_stand_for_none_are_told(tmp_path: Path) -> None:
    (finding,) = told("one-text-to-learn", train=["one two"] * 3, validation=["three"])
    assert "All 3 training transcripts are 'one two'" in finding.message
    assert not told("one-text-to-learn", train=["one two", "two"])
    data = read(tmp_path, [*FINE[:-1], "nan"])
    (finding,) = (finding for finding in data.findings if finding.code == "texts-that-stand-for-none")
    assert "column 'text' hold" in finding.message
    assert "(nan)" in finding.examples[0]


def test_joiners_that_spelling_needs_are_kept(tmp_path: Path) -> None:
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert "\u200c" in read(tmp_path, [persian] * 8).targets.about["letters"]


@pytest.mark.parametrize("name", ["max_length", "label_smoothing", "class_weighting", "pooling"])
def test_what_has_no_meaning_is_refused(name: str) -> None:
    space = {"max_length": 3000, "label_smoothing": 0.1, "class_weighting": "balanced", "pooling": "mean"}
    with pytest.raises((DocumentError, ValueError), match="has no meaning here"):
        StudySpec.model_validate(
            {
                "name": "x",
                "task": TASK,
                "model": "/m",
                "dataset": {"source": "/d.csv"},
                "space": {name: space[name]},
                "budget": {"trials": 1},
            }
        )


@pytest.mark.parametrize(
    ("given", "tokens"), [(None, 224), ({}, 224), ({"num_beams": 3}, 224), ({"max_new_tokens": 9}, 9)]
)
def test_a_recording_is_written_with_as_many_tokens_as_it_may_need(given: dict[str, int] | None, tokens: int) -> None:
    document = {"name": "x", "task": TASK, "model": "/m", "dataset": {"source": "/d.csv"}, "space": {}}
    spec = StudySpec.model_validate(document | ({} if given is None else {"generation": given}))
    again = StudySpec.model_validate_json(spec.model_dump_json())
    assert spec.writing.max_new_tokens == again.writing.max_new_tokens == tokens
    assert again == spec


def test_a_folder_of_sounds_needs_its_table(tmp_path: Path) -> None:
    table = tiny_speech(tmp_path / "calls", 3)
    for named in (True, False):
        cure = f"name the table in it, {table}, as dataset.source." if named else "write a csv with the columns audio "
        with pytest.raises(BadData) as refused:
            load_data(Dataset(source=str(table.parent)), TASK, Transcripts, seed=0)
        assert "does not tell the text of each" in refused.value.message
        assert cure in refused.value.message
        table.unlink(missing_ok=True)
