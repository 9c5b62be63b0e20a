"""Whatever a document holds, it is a spec that stays itself, or a sentence that says where it is wrong."""

import json
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st
from pydantic import ValidationError

from luthier.service.errors import invalid, unreadable
from luthier.studies.documents import DocumentError, decode
from luthier.studies.schedule import ScheduleSpec, parse_schedule
from luthier.studies.spec import StudySpec, parse_spec
from tests.support import external
from tests.support.harness import spec
from tests.support.mutations import VALUES, mutated
from tests.support.nightly import schedule
from tests.support.paths import ROOT
from tests.support.searched import searched

PYTHON = ("Traceback", "Error(", "Input should", "pydantic", "<class", "object at 0x", "_type=")
DOCUMENTS: list[dict[str, Any]] = [
    spec(),
    external.document(),
    schedule(),
    yaml.safe_load((ROOT / "examples/quickstart.yaml").read_text()),
    spec(
        early_stopping={"patience": 2, "min_delta": 0.1},
        pruner={"name": "asha", "reduction_factor": 3},
        sampler={"name": "tpe", "portfolio": True},
        budget={"trials": 9, "wall_clock_seconds": 60, "target": 0.9, "patience": 5},
        model=["models/a", "models/b"],
        dataset={"source": {"train": "a.csv", "test": "b.csv"}, "columns": {"text": "t"}, "limit": 100},
        resources={"gpus": 0.5},
        objective={"metric": "f1", "direction": "maximize", "measurement": "last"},
    ),
]


def read(content: bytes) -> StudySpec | ScheduleSpec | None:
    """Return what a body stands for, as a spec or as a schedule; None where both are refused with sentences."""
    found: list[StudySpec | ScheduleSpec] = []
    for parse in (parse_spec, parse_schedule):
        try:
            found.append(parse(decode(content)))
        except ValidationError as error:
            problem = invalid(error)
            assert problem.errors, "each wrong value is named"
            said = [problem.detail, *(fault.message for fault in problem.errors)]
        except DocumentError as error:
            said = [unreadable(error).detail]
        except ValueError as error:
            said = [str(error)]
        else:
            continue
        for sentence in said:
            assert sentence.strip()
            assert not any(word in sentence for word in PYTHON), sentence
            assert len(sentence) < 10_000
    return found[0] if found else None


def check(content: bytes) -> None:
    """A spec that was read says the same once it was written, stored and read again."""
    document = read(content)
    if document is None:
        return
    stored = document.model_dump_json()
    assert "NaN" not in stored
    assert type(document).model_validate_json(stored) == document
    stored.encode()


@searched(12, times=400)
def test_a_valid_document_with_a_few_other_values(limits: hypothesis.settings) -> None:
    @limits
    @hypothesis.given(mutated(DOCUMENTS), st.booleans())
    def search(document: Any, as_yaml: bool) -> None:
        if as_yaml:
            try:
                text = yaml.safe_dump(document, allow_unicode=True)
            except yaml.YAMLError:  # a surrogate, say
                return
            check(text.encode("utf-8", "surrogatepass"))
        else:
            check(json.dumps(document).encode())

    search()


@searched(15, times=200)
def test_any_values(limits: hypothesis.settings) -> None:
    @limits
    @hypothesis.given(VALUES)
    def search(value: Any) -> None:
        check(json.dumps(value).encode())

    search()


SIGNS = st.sampled_from([*"{}[],:&*!|>%@`'\"#-?\n\t\\ ~<", "&a ", "*a", "<<: ", "---\n", "- "])


@searched(40, times=200)
def test_any_text_and_any_bytes(limits: hypothesis.settings) -> None:
    @limits
    @hypothesis.given(st.lists(SIGNS | st.text(max_size=4), max_size=25).map("".join) | st.binary(max_size=60))
    def search(content: str | bytes) -> None:
        check(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)

    search()


BOMBS = {
    "aliases": lambda n: "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, n)),
    "aliases in a mapping": lambda n: "&a\nb: *a\n" * n,
    "lists": lambda n: "[" * n,
    "closed lists": lambda n: "[" * n + "]" * n,
    "mappings": lambda n: '{"a":' * n + "1" + "}" * n,
    "blocks": lambda n: "".join(" " * i + "a:\n" for i in range(min(n, 700))),
    "dashes": lambda n: "- " * n,
    "keys": lambda n: "? " * n,
    "digits": lambda n: '{"seed": ' + "9" * n + "}",
    "exponent": lambda n: f'{{"seed": 1e{"9" * min(n, 300)}}}',
    "directives": lambda n: "%YAML 1.2\n" * n,
    "anchors": lambda n: "".join(f"&a{i} x{i}: 1\n" for i in range(n)),
    "tags": lambda n: "!" * n,
    "quotes": lambda n: '"' + "\\" * n,
    "a long key": lambda n: "k" * n + ": 1",
    "merges": lambda n: "a: &a {b: 1}\n" + "c: {<<: *a}\n" * n,
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("size", [40, 5_000, pytest.param(260_000, marks=pytest.mark.full)])
def test_a_bomb_is_refused_at_once(name: str, size: int) -> None:
    content = BOMBS[name](size).encode()[: 2**18 + 10]
    assert read(content) is None
