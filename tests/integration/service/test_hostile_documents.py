"""Specs and schedules of outsiders that no reader should meet: a sentence each at every route, and nothing stored."""

import io
import json
import sys
from pathlib import Path

import pytest

from luthier.service.cli.connect import CommandError, read_spec
from tests.support.harness import Running, problem, spec

GOOD = json.dumps(spec("hostile"))
PAIRS = zip("abcdefgh", "bcdefghi", strict=True)
LAUGHS = "a: &a [x, x, x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in PAIRS)
HOSTILE = {
    "brackets": (b"[" * 100_000, "nested deeper than 50 levels"),
    "braces": (b'{"a":' * 50_000, "nested deeper than 50 levels"),
    "mappings": (b"{a: " * 50_000, "nested deeper than 50 levels"),
    "laughs": (LAUGHS.encode(), "more than 10000 values, those of aliases included"),
    "alias of itself": (b"a: &a {b: *a}", "names nothing above it"),
    "digits": (b'{"seed": ' + b"9" * 5_000 + b"}", "a whole number has at most 400 digits"),
    "a key twice": (GOOD[:-1].encode() + b', "seed": 1, "seed": 2}', "is given twice"),
    "NUL in YAML": (b"name: a\0b", "line 1, column 8: it holds control characters"),
    "NUL in JSON": (b'{"name": "a\\u0000b"}', "it holds the character NUL"),
    "Latin-1": (b"name: \xe9t\xe9", "save it as UTF-8"),
    "half of UTF-16": (b"\xff\xfea", "it must be UTF-8 text"),
    "a tag of Python": (b"name: !!python/object/apply:os.system [id]", "is not known; write the value without it"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_a_sentence_at_every_route(house_sqlite: Running, name: str) -> None:
    content, said = HOSTILE[name]
    for path in ("/v1/studies", "/v1/plan", "/v1/schedules"):
        answer = problem(house_sqlite.client.post(path, content=content), 422)
        told = " ".join([answer["detail"], *(error["message"] for error in answer["errors"])])
        assert said in told, path
        assert "\n" not in told
    assert house_sqlite.get("/v1/studies?search=hostile")["items"] == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_spec_on_stdin_is_read_in_every_encoding_of_a_file(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode(encoding)), encoding="ascii"))
    assert read_spec(Path("-"))[1].name == "hostile"


def test_bytes_on_stdin_that_are_no_text_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"name: \xe9t\xe9"), encoding="utf-8"))
    with pytest.raises(CommandError, match="not UTF-8 text"):
        read_spec(Path("-"))
