"""Valid documents and messages with a few other values in them, for tests of what is refused."""

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 10**400, 1e308, 5e-324, float("inf"), float("nan"), -0.0])
WORDS = st.sampled_from(["auto", "none", "", "\0", "../..", "low", "high", "log", "tpe", "<b>", "a" * 300, "=1+1"])
VALUES = st.recursive(
    PLAIN | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def places(document: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every value in a document."""
    if isinstance(document, dict):
        return [pair for key, value in document.items() for pair in ((document, key), *places(value))]
    if isinstance(document, list):
        return [pair for i, value in enumerate(document) for pair in ((document, i), *places(value))]
    return []


@st.composite
def mutated(draw: st.DrawFn, documents: Sequence[Any]) -> Any:
    """One of the documents, of which a few values were replaced, taken out, added, moved or wrapped."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(1, 3))):
        where = places(document)
        if not where:
            break
        container, key = draw(st.sampled_from(where))
        act = draw(st.sampled_from(["replace", "remove", "add", "move", "wrap"]))
        if act == "remove":
            del container[key]
        elif act == "add" and isinstance(container, dict):
            container[draw(WORDS | st.text(max_size=6))] = draw(VALUES)
        elif act == "move":
            other, name = draw(st.sampled_from(where))
            if isinstance(other, dict) or name < len(other):
                container[key] = copy.deepcopy(other.get(name) if isinstance(other, dict) else other[name])
        elif act == "wrap":
            container[key] = draw(st.sampled_from([[container[key]], {"low": container[key], "high": 3}]))
        else:
            container[key] = draw(VALUES)
    return document
