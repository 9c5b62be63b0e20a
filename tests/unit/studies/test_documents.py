"""YAML 1.2 and JSON are read as their standards say, and no text takes more than moments."""

import json
import math
import re
import time
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.service.errors import invalid, unreadable
from luthier.service.schemas.problems import MAX_FAULTS, faults_of
from luthier.studies.documents import MAX_BYTES, DocumentError, decode, load_document, parse_message
from luthier.studies.markup import MAX_DEPTH, MAX_VALUES
from luthier.studies.spec import parse_spec
from tests.support.specs import document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("0", 0), ("-12", -12), ("+5", 5), ("0o10", 8), ("0x1F", 31), ("1e-5", 1e-5), ("1E3", 1000.0), (".5", 0.5)],
        *[("5.", 5.0), ("-.5e3", -500.0), ("01.5", 1.5), ("true", True), ("TRUE", True), ("False", False)],
        *[("~", None), ("null", None), ("", None), ("yes", "yes"), ("no", "no"), ("off", "off"), ("2020-01-01",) * 2],
        *[("1.2.3", "1.2.3"), ("127.0.0.1:80", "127.0.0.1:80"), ("1:90", "1:90"), ("1:30x", "1:30x"), ("inf", "inf")],
        *[("'010'", "010"), ('"1:30"', "1:30"), ("!!str 010", "010"), ("0o8", "0o8"), ("=", "="), ("|\n  x\n", "x\n")],
    ],
)
def test_a_scalar_is_that_of_yaml_1_2(text: str, value: Any) -> None:
    read = load_document(f"a: {text}")["a"]
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        *[("010", "write 10, or 0o"), ("-010", "write -10"), ("08", "write 8"), ("00", "write 0")],
        ("0_17", "write 17"),
        *[("1:30", "base 60"), ("12:30:15", "seconds"), ("190:20:30.15", "quotes"), ("-1:30", "base 60")],
        *[("1_000", "plain digits"), ("1_0.5", "plain digits"), ("0b11", "plain digits"), ("0x1_F", "plain digits")],
        *[("!!int 10", "without it"), ("!mine 10", "without it"), ("!!python/name:os.system x", "without it")],
    ],
)
def test_what_two_readers_would_read_differently_is_refused_with_its_line_and_the_cure(text: str, cure: str) -> None:
    for whole in (f"name: x\nseed: {text}\n", f"name: x\nbatch_size:\n- [{text}]\n", f"name: x\n? {text}\n: 1\n"):
        with pytest.raises(ValueError, match=r"line [23]: [^\n]*" + cure):
            load_document(whole)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"a": "\ud83d\ude00"}', "\U0001f600"),
        ('{\n\t"a":\t"x"\n}', "x"),
        ('\ufeff{"a": "x"}', "x"),
        ("\ufeffa: x", "x"),
        ('  \n {"a": "x"}\n', "x"),
        ("{a: x, }", "x"),
        ("%YAML 1.2\n---\na: x\n...\n", "x"),
        ("b: &b x\na: *b", "x"),
        ('{"a": 123456789012345678901234567890}', 123456789012345678901234567890),
    ],
)
def test_json_is_read_as_json_and_braces_of_yaml_as_yaml(text: str, value: Any) -> None:
    assert load_document(text)["a"] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "a is given twice"),
        ('{"s": {"a": 1, "a": 2}}', "s.a is given twice; leave one of the two out"),
        ('{"s": [1, {"b": [{}, {"a": 1, "a": 2}]}]}', "s.1.b.1.a is given twice"),
        ("s:\n- b:\n    c: 1\n    c: 2", "line 4: c is given twice"),
        ('{"name": "x", "space": {"learning_rate": [1, 2', "line 1, column .*send all of it"),
        ('{"name": "x", "task": "text-cl', "send all of it"),
        ('{"name": "x"', "send all of it"),
        ("a: 1\nb: {c: 1, c: 2}", "line 2: c is given twice"),
        ('{"a" 1}', "line 1, column 6: a colon is missing"),
        ('{\n\t"a": 1,\n\t"b" 2\n}', "line 3, column 6: a colon is missing"),
        ("a: 1\n---\nb: 2", "line 2: a second document"),
        ("a: &a [*a]", r"line 1: \*a names nothing above it"),
        ("a: *b", r"line 1: \*b names nothing above it"),
        ("b: &b {c: 1}\na:\n  <<: *b\n", "line 3: << belongs to YAML 1.1"),
        ("? [a]\n: 1", "line 1: a key is a word or a number"),
        ("a:\n\t- 1", "line 2"),
        ("\0", "control characters"),
        ("%TAG !x! y\n" * 20, "directive"),
    ],
)
def test_a_text_that_is_no_document_is_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^not valid YAML or JSON: [^\n]*" + message):
        load_document(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        *[('{"a": NaN}', "a"), ('{"a": [1, -Infinity]}', "a.1"), ('{"a": {"b": 1e999}}', "a.b"), ("a: .inf", "a")],
        *[(r'{"a": {"b": "c\u0000"}}', "a.b"), ('a: "\\0"', "a"), (r'{"\u0000": 1}', "")],
        *[("a: [.NaN]", "a.0"), (r'{"a": "\ud83d"}', "a"), (r'{"\ude00": 1}', ""), (r'{"a": ["\ude00\ud83d"]}', "a.0")],
    ],
)
def test_a_value_that_no_document_may_hold_is_named_by_its_path(text: str, path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        load_document(text)
    assert [".".join(map(str, error["loc"])) for error in caught.value.errors()] == [path]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("null", "", "must be an object.* is null"),
        ("[1]", "", "is a list"),
        ("3", "", "is a single value"),
        ("", "", "a value is missing"),
        ('{"a": 1,}', "", "line 1, column 9: [^\n]*before a bracket"),
        ('{"a": {"b": 1', "", "send all of it"),
        ('{"a": "b', "", "send all of it"),
        ('{"a": {"b": [{"c": 1, "c": 1}]}}', "a.b.0.c", "a.b.0.c is given twice"),
        ('{"a": NaN}', "a", "a must be a finite number"),
        ('{"a": [0, -Infinity]}', "a.1", "must be a finite number"),
        ('{"a": 1e999}', "a", "must be a finite number"),
        (r'{"a": "\ud83d"}', "a", "surrogate"),
        (r'{"a": {"\ude00": 1}}', "a", "surrogate"),
        ('{"a": ' * 100_000, "", "nested deeper"),
    ],
)
def test_a_message_that_is_no_json_object_is_refused_with_a_sentence(text: str, path: str, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as refused:
        parse_message(text)
    assert ".".join(map(str, refused.value.path)) == path


@pytest.mark.parametrize("text", ["s:\n- b:\n    c: 1\n    c: 2", '{"s": [{"b": {"c": 1, "c": 2}}]}'])
def test_a_key_that_is_given_twice_is_named_by_its_path(text: str) -> None:
    with pytest.raises(DocumentError) as refused:
        load_document(text)
    assert refused.value.path == ("s", 0, "b", "c")
    assert unreadable(refused.value).errors[0].path == "s.0.b.c"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_message_is_read_in_every_encoding_of_json(encoding: str) -> None:
    assert parse_message(decode('{"a": {"a": "é", "b": [{"a": 1}, {"a": 2}]}}'.encode(encoding)))["a"]["a"] == "é"


def test_bytes_that_are_no_text_are_refused_with_the_cure() -> None:
    with pytest.raises(DocumentError, match="byte 6 is not; save it as UTF-8"):
        decode(b'{"a": \xe9}')


FULL = MAX_BYTES - 100
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        *["[" * FULL, "a: " + "[" * FULL, "{a: " * (FULL // 4), '{"a":' * (FULL // 5), "- " * (FULL // 2)],
        *["? " * (FULL // 2), "[" * 30_000 + "]" * 30_000, "a: [" + "1," * (FULL // 2) + "1]", LAUGHS],
        *['{"a": [' + "1," * (FULL // 3) + "1]}", "- &a 1\n" + "- *a\n" * (FULL // 5), '{"a": ' + "9" * FULL + "}"],
        *["a: " + "9" * FULL, "a: -" + "9" * FULL, "a: " + "0" * FULL, "a: 1" + "_1" * (FULL // 2)],
        *["".join(f"%TAG !a{i}! t\n" for i in range(12_000)), "a: 1" + ":1" * (FULL // 2), "#" * (MAX_BYTES + 1)],
        "x" * 200 + "\U0001f600" * (MAX_BYTES // 4),
    ],
    ids=lambda text: text[:12],
)
def test_large_nested_and_multiplied_texts_are_refused_in_moments(text: str) -> None:
    begun = time.thread_time()
    with pytest.raises(ValueError, match=r"^[^\n]{20,}") as refused:
        load_document(text)
    assert time.thread_time() - begun < 1.0  # they take hundredths; pure Python took seconds, or memory without end
    assert len(str(refused.value)) < 400


def test_the_limits_are_far_above_what_people_write() -> None:
    assert load_document("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH)
    assert load_document("- [" + "1," * (MAX_VALUES - 4) + "1]")
    rates = [1e-6 + i * 1e-9 for i in range(3000)]
    text = json.dumps(document({"space.learning_rate": rates}))
    assert parse_spec(text).space["learning_rate"] == tuple(rates)
    assert all(map(math.isfinite, rates))


def test_of_many_errors_the_first_twenty_are_listed() -> None:
    with pytest.raises(ValidationError) as caught:
        parse_spec(json.dumps(document({f"key{i}": i for i in range(4000)})))
    problem = invalid(caught.value)
    assert len(problem.errors) == MAX_FAULTS + 1
    assert problem.errors[0].path == "key0"
    assert str(problem.errors[-1]) == f"and {4000 - MAX_FAULTS} more"
    assert MAX_FAULTS == 20


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bugdet": {"trials": 1}}, "bugdet: unknown key; did you mean budget?"),
        ({"xyzzy": 1}, "xyzzy: unknown key"),
        ({"warm_start": {}}, "warm_start.study: is missing"),
        ({"dataset": {"source": "d.csv", "colums": {}}}, "dataset.colums: unknown key; did you mean columns?"),
        ({"sampler": {"nam": "tpe"}}, "sampler.nam: unknown key; did you mean name?"),
        ({"space": {"epoch": 3}}, "space.epoch: unknown hyperparameter; known are learning_rate"),
        ({"name": "Not A Name"}, "name: must be a name of lowercase letters"),
        ({"seed": -1}, "seed: must be at least 0"),
        ({"dataset": {"source": "d.csv", "validation": True}}, "dataset.validation: must be a number or text"),
        ({"dataset": {"source": "d.csv", "label_separator": ""}}, "dataset.label_separator: must not be empty"),
    ],
)
def test_a_wrong_value_is_told_once_in_words_for_people(wrong: dict[str, Any], told: str) -> None:
    good = {"name": "a", "task": "text-classification", "model": "m", "dataset": {"source": "d.csv"}, "space": {}}
    with pytest.raises(ValidationError) as refused:
        parse_spec(json.dumps(good | wrong))
    lines = [str(fault) for fault in faults_of(refused.value.errors())]
    assert len(lines) == 1
    assert lines[0].startswith(told)
    assert ("did you mean" in lines[0]) == ("did you mean" in told or "epoch" in told)
    assert "epoch" not in told or lines[0].endswith("; did you mean epochs?")
    assert not re.search("[Ii]nput|should|Field required|Value error|[a-z]_type", lines[0])
