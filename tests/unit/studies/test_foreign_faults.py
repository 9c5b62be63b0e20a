"""A foreign document with a wrong value anywhere is read, or refused by its path; nothing is dropped in silence."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from luthier.studies.importers.documents import KINDS, draft_of, read_foreign
from luthier.studies.importers.draft import Draft
from luthier.studies.spec import parse_spec
from tests.support.specs import document as our_document
from tests.unit.studies.test_importers import KATIB, SAGEMAKER, SWEEP, VIZIER

Path = tuple[str | int, ...]
DOCUMENTS = {
    "sweep": yaml.safe_load(SWEEP),
    "katib": yaml.safe_load(KATIB),
    "sagemaker": SAGEMAKER,
    "vizier": VIZIER,
    "snake case": {
        "metrics": [{"name": "accuracy", "goal": "MAXIMIZE"}],
        "parameters": VIZIER["studySpec"]["parameters"],
    },
}
WRONG: tuple[Any, ...] = (
    None,
    True,
    -7.25,
    10**390,
    "a wrong word",
    [["deep"], "in a list"],
    {"value": {"low": "x"}},
)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each value inside another."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def replaced(whole: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(whole)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def drafted(whole: dict[str, Any]) -> Draft | str:
    """Return the draft of a document, or the sentence why there is none."""
    try:
        return draft_of(whole)
    except ValueError as error:
        return str(error)


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


def is_about(told: str, path: Path) -> bool:
    """Return whether a path that was told leads to a value, into it, or past it."""
    where = dotted(path)
    return told == where or told.startswith(f"{where}.") or where.startswith(f"{told}.")


def flat(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for item in inner for leaf in flat(item)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_value_of_a_wrong_kind_is_told_by_its_path_wherever_it_stands(name: str) -> None:
    whole = DOCUMENTS[name]
    before = draft_of(whole)
    for path in places(whole):
        for wrong in WRONG:
            if type(wrong) is type(at(whole, path)):
                continue
            told = f"{dotted(path)} = {wrong!r}"
            draft = drafted(replaced(whole, path, wrong))
            if isinstance(draft, str):
                named = is_about(draft.split(" ", 1)[0], path)
                assert named or (len(path) == 1 and KINDS in draft), f"{told}: {draft}"
                continue
            values = flat(draft.spec)
            is_taken = all(leaf in values for leaf in flat(wrong))
            assert wrong is None or is_taken or any(is_about(left, path) for left in draft.left), told
            assert set(draft.spec) <= set(before.spec) | {"dataset", "objective"}, told
            assert all("Input should" not in why and "\n" not in why for why in draft.left.values()), told


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_key_that_no_reader_knows_is_told_wherever_it_stands(name: str) -> None:
    whole = DOCUMENTS[name]
    for path in ((), *places(whole)):
        if isinstance(at(whole, path), dict):
            left = draft_of(replaced(whole, (*path, "unheard-of"), 1)).left
            assert any(is_about(told, (*path, "unheard-of")) for told in left), dotted(path)


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("katib", ("spec",), "spec must be a mapping, and is a list"),
        ("katib", ("spec", "parameters"), "spec.parameters must be a list, and is a mapping"),
        ("sweep", ("parameters",), "parameters must be a mapping, and is a list"),
        ("sagemaker", ("HyperParameterTuningJobConfig",), "HyperParameterTuningJobConfig must be a mapping"),
        ("vizier", ("studySpec", "parameters"), "studySpec.parameters must be a list, and is a mapping"),
    ],
)
def test_a_document_without_its_search_is_refused_and_not_taken_for_an_empty_one(
    name: str, path: Path, said: str
) -> None:
    whole = DOCUMENTS[name]
    other: Any = [] if isinstance(at(whole, path), dict) else {}
    with pytest.raises(ValueError, match=f"^{said}"):
        draft_of(replaced(whole, path, other))


@pytest.mark.parametrize(
    ("name", "path", "value", "left"),
    [
        ("sweep", ("method",), "magic", "method"),
        ("sweep", ("metric", "goal"), "maximise", "metric.goal"),
        ("sagemaker", ("HyperParameterTuningJobConfig", "Strategy"), "Magic", "HyperParameterTuningJobConfig.Strategy"),
        ("vizier", ("studySpec", "algorithm"), "MAGIC", "studySpec.algorithm"),
        ("vizier", ("studySpec", "measurementSelectionType"), "MIDDLE", "studySpec.measurementSelectionType"),
        ("katib", ("spec", "objective", "type"), "largest", "spec.objective.type"),
        ("katib", ("spec", "parameters", 2, "feasibleSpace", "max"), "4.5", "spec.parameters.2"),
        ("katib", ("spec", "parameters", 0, "feasibleSpace", "step"), "0.1", "spec.parameters.0.feasibleSpace.step"),
        ("katib", ("spec", "maxTrialCount"), 0, "spec.maxTrialCount"),
    ],
)
def test_a_word_or_a_number_that_cannot_be_is_left_out_by_its_path(
    name: str, path: Path, value: Any, left: str
) -> None:
    assert left in draft_of(replaced(DOCUMENTS[name], path, value)).left


def test_of_two_names_of_one_thing_the_first_counts() -> None:
    draft = draft_of({"parameters": {"model": {"value": "a"}, "model_name": {"value": "b"}, "seed": {"value": "7"}}})
    assert draft.spec == {"model": "a", "seed": 7}
    assert draft.left == {"parameters.model_name": "another key is model already"}


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "a: &a [*a]", "parameters: {a: 1, a: 2}", "a: \0"])
def test_a_hostile_document_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not valid YAML or JSON: [^\n]{10,}"):
        read_foreign(text)


def test_what_is_taken_makes_a_valid_spec() -> None:
    for whole in DOCUMENTS.values():
        spec = our_document({}) | {k: v for k, v in draft_of(whole).spec.items() if k not in ("name", "model")}
        parse_spec(json.dumps(spec))
