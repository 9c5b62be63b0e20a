"""Arguments of a wrong kind are refused by the client itself, in a sentence, before anything is sent."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier import AsyncClient, Client
from luthier.service.client.events import Following
from luthier.service.client.predictions import lines_of
from luthier.service.client.rows import texts

NOWHERE = "http://127.0.0.1:9"  # whoever sends anything there gets Unreachable


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.extend("one", 20), 'budget must be a mapping of new totals, as {"trials": 50}, and not 20'),
        (lambda c: c.create([1]), "a spec is a file, YAML or JSON text, or a mapping, and not list"),
        (lambda c: c.plan(None), "a spec is a file, YAML or JSON text, or a mapping, and not NoneType"),
        (lambda c: [*lines_of(["lovely"])], 'row 1 must be a mapping of columns, as {"text": "..."}, and not str'),
        (lambda c: [*lines_of([{"text": "a"}, ["b"]])], "row 2 must be a mapping of columns"),
        (lambda c: c.predict("one", 5), "a table is a file, a data frame, or rows, and not int"),
        (lambda c: c.predict("one", {"text": "a"}), "a table is a file, a data frame, or rows, and not dict"),
        (lambda c: c.predict("one", [], out="answers.JSONL"), "answers.JSONL: the answers are a csv file"),
        (lambda c: c.predict("one", [], out=Path("answers.parquet")), "answers.parquet: the answers are a csv file"),
    ],
)
def test_a_wrong_kind_is_named_with_what_is_wanted(call: Callable[[Client], Any], said: str) -> None:
    with Client(NOWHERE) as client, pytest.raises(ValueError, match=re.escape(said)):
        call(client)


def test_a_folder_for_the_answers_is_refused_before_a_worker_works(tmp_path: Path) -> None:
    with Client(NOWHERE) as client, pytest.raises(IsADirectoryError, match="is a folder; name a csv file in it"):
        client.predict("one", [{"text": "a"}], out=tmp_path)

    async def twin() -> None:
        async with AsyncClient(NOWHERE) as client:
            await client.predict("one", [{"text": "a"}], out=tmp_path)

    with pytest.raises(IsADirectoryError, match="is a folder; name a csv file in it"):
        asyncio.run(twin())
    assert not list(tmp_path.iterdir())


def test_a_folder_of_data_says_how_it_is_packed(tmp_path: Path) -> None:
    with Client(NOWHERE) as client, pytest.raises(IsADirectoryError, match="is a folder; pack it first"):
        client.upload_dataset(tmp_path)


def test_one_text_where_several_may_stand_is_one_and_not_its_letters() -> None:
    assert Following("one", None, "report", None).options()["params"] == {"kind": ["report"]}  # type: ignore[arg-type]
    assert (texts("german"), texts(("a", "b"))) == (["german"], ["a", "b"])
