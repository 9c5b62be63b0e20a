"""A fault of a spec is shown beside the line that it is on."""

import pytest

from luthier.service.api.site.spec_lines import lines_of
from luthier.service.schemas import Fault

TEXT = """name: x
model: [a, b]
space:
  learning_rate:
    low: 1
  batch_size:
    - 8
    - -1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("name", 1),
        ("model.1", 2),
        ("space", 3),
        ("space.learning_rate.low", 5),
        ("space.learning_rate.high", 4),  # it is missing: the nearest that is there
        ("space.batch_size.1", 8),
        ("space.batch_size.9", 6),
        ("task", 1),
        ("", 1),
    ],
)
def test_a_path_has_a_line(path: str, line: int) -> None:
    fault = Fault(path=path, message="is wrong")
    assert lines_of(TEXT, [fault]) == [(line, fault)]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: [", "expected ], in line 7", 7),
        ("\0", "it cannot be read", 1),
        ("", "nothing in it", 1),
        ("[" * 100_000, "too deep", 1),
        ('{"a":\n {"b": 1}}', "is wrong", 2),
    ],
)
def test_a_text_that_is_no_document_has_the_line_that_its_fault_says(text: str, message: str, line: int) -> None:
    assert [found for found, _ in lines_of(text, [Fault(path="a.b", message=message)])] == [line]
