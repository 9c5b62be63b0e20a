"""A text that is no YAML or JSON is told by its place, in words of ours, with the cure."""

import json

import pytest

from luthier.studies.documents import load_document, parse_message

FAULTS = [
    ("a: b: c", "line 1, column 5: a second colon"),
    ("model: x\n model: y", "line 2, column 7: a second colon"),
    ("a: - b", "line 1, column 4: a list begins behind its key"),
    ("a: 1\n  b: 2\nc", "line 2, column 4: a second colon"),
    ("a:\n  - b\n  c: d", "line 3, column 3: the list does not go on"),
    (
        "a: [1, 2\nb: 3",
        "line 2, column 2: a list is not closed: a comma or ] is missing before this place; it begins",
    ),
    ("a: {b: 1\nc: 2", "a mapping is not closed"),
    ("a: [", "a value is missing here, or a bracket is not closed"),
    ("a: 'b", "quotes are not closed before the end"),
    ("a: 1\nbc\nd: 2", "line 3, column 1: a colon is missing after the key"),
    ("a: @b", "line 1, column 4: a tab, @"),
    ("a:\n\t- 1", "line 2, column 1: a tab"),
    ('a: "\\d"', "line 1, column 5: an unknown \\ in double quotes"),
    ("a: *", "& or * begins a value without a name"),
    ("a: !x!y b", "! begins a tag"),
    ("[1] [2]", "the text goes on after its end"),
    ("a: 1\nb: \x07", "line 2, column 4: it holds control characters"),
    ("a: \ud800", "line 1: it holds half of a surrogate pair"),
    ('{"a": 1,}', None),
    ('{"a" 1}', "line 1, column 6: a colon is missing after the key"),
    ('{"a": "b\nc" x}', "line 1, column 9: a line break or tab inside quotes"),
    ('{"a": 1 "b": 2}', "line 1, column 9: a comma or a closing bracket is missing"),
]
RAW = ("node", "token", "delimiter", "Expecting", "context", "did not find", "codec", "char ", "<unicode")


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_text_that_cannot_be_parsed_is_told_in_our_words(text: str, said: str | None) -> None:
    if said is None:
        assert load_document(text) == json.loads('{"a": 1}'), "a mapping of YAML"
        return
    with pytest.raises(ValueError, match=r"^not valid YAML or JSON: ") as refused:
        load_document(text)
    assert said in str(refused.value)
    assert not any(word in str(refused.value) for word in RAW)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1} x', "line 1, column 10: the text goes on after its end"),
        ('{"a": "\\d"}', "line 1, column 8: an unknown \\ inside quotes"),
        ('{"a": "\\u12"}', "a \\u without its four digits"),
        ("{'a': 1}", "line 1, column 2: a key in double quotes is missing"),
        ('{"a": nope}', "line 1, column 7: a value is missing; a text needs double quotes"),
        ('{"a": 1,}', "no comma stands before a bracket"),
    ],
)
def test_a_message_that_cannot_be_parsed_is_told_in_our_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^not valid JSON: ") as refused:
        parse_message(text)
    assert said in str(refused.value)
    assert not any(word in str(refused.value) for word in RAW)
