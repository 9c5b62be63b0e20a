"""Plain text: a line is a text; what is no plain text, in a file of that name, is refused or read as what it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.dataset import Dataset
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.findings import about


def test_lines_of_plain_text_are_texts(tmp_path: Path) -> None:
    lines = [f"Line {i}, with commas; and more." for i in range(40)]
    file = tmp_path / "corpus.txt"
    file.write_text("\n\n".join(lines) + "\r\n")

    def read() -> Any:
        dataset = Dataset.model_validate({"source": str(file), "validation": 0.2})
        return load_data(dataset, "text-generation", 0, True)

    data = read()
    assert {text for split in data.splits.values() for text in split.columns["text"]} == set(lines)
    assert about(data, "lines-as-texts")[0].count == 40
    file.write_text("\n".join(json.dumps({"text": line}) for line in lines))
    with pytest.raises(BadData, match=r"a JSON object a line; give it a name that ends with \.jsonl"):
        read()
    file.write_text(json.dumps([{"text": line} for line in lines], indent=1))
    with pytest.raises(BadData, match="begins as JSON"):
        read()
    file.write_text("\n".join(["prompt\tcompletion", *(f"say {i}\tit is {i}" for i in range(40))]))
    assert read().splits["train"].columns.keys() == {"prompt"}
    file.write_text("\n".join(["text", *lines]))
    with pytest.raises(BadData, match="no table with the column text"):
        read()
    file.write_text("\n".join(["Send it by mail, text, or phone.", *lines]))
    assert sum(data.rows.values()) + 1 == sum(read().rows.values())
    file.write_text(" \n\n")
    with pytest.raises(BadData):
        read()
