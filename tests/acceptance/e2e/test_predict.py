"""Predictions as people ask for them, and what is killed while a worker answers."""

import asyncio
import csv
import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from luthier import AsyncClient, Client, ServiceError
from tests.support.command_line import command_in
from tests.support.served import Served, spec
from tests.support.tiny import tiny_rows
from tests.support.waiting import until

Serve = Callable[..., Served]
SPACE = {"learning_rate": [3e-3], "batch_size": [8], "epochs": [2]}


def document(tiny: Path, name: str) -> dict[str, Any]:
    changes = {"space": SPACE, "sampler": {"name": "grid"}, "budget": {"trials": 1}, "evaluations_per_epoch": 1}
    return spec(tiny, name, **changes)


def table(rows: int) -> str:
    texts = (text for text, _ in tiny_rows(rows, seed=3))
    return "id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(texts))


@pytest.mark.full
@pytest.mark.parametrize("empty_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.wide)], indirect=True)
def test_what_is_killed_while_it_answers_answers_every_row_once(
    serve: Serve, tiny: Path, tmp_path: Path, empty_url: str
) -> None:
    served = serve(LUTHIER_DATABASE_URL=empty_url)
    served.client.post("/v1/studies", json=document(tiny, "predicted")).raise_for_status()
    assert served.ended("predicted")["model"] is not None
    store = Path(served.environment["LUTHIER_HOME"], "store")
    text = table(6_000)
    sent = served.client.post("/v1/studies/predicted/predict?format=csv", content=text)
    assert sent.status_code == 202
    path = sent.headers["Location"]

    def begun() -> bool:
        return any(store.glob("*/.rival-*/model/config.json"))

    until(begun, 60, 0.005)
    below = served.processes()
    served.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in below), 10)
    assert not list(store.glob("*/predictions.csv")), "there is a whole file, or none"
    served.start()
    until(lambda: served.client.get(path).json()["state"] == "complete", 90)
    found = served.client.get(path).json()
    assert (found["attempt"], found["rows"], found["unreadable"]) == (2, 6_000, 0)
    answers = csv.DictReader(io.StringIO(served.client.get(f"{path}/file").text))
    expected = list(csv.DictReader(io.StringIO(text)))
    assert [{"id": row["id"], "text": row["text"]} for row in answers] == expected
    served.client.delete(path).raise_for_status()
    kept = {file.name for file in store.glob("*/*")}
    served.kill(signal.SIGTERM)
    _without_a_server(tmp_path, served.environment)
    assert {file.name for file in store.glob("*/*")} == kept, "nothing of it is kept"


def _without_a_server(folder: Path, here: dict[str, str]) -> None:
    """The study of the same home is asked by a service that the command embeds."""
    file = folder / "few.csv"
    file.write_text(table(8) + "8,\n")
    said = command_in(folder)("predict", "predicted", file, **{k: v for k, v in here.items() if k[:7] == "LUTHIER"})
    assert said.returncode == 0, said.stderr
    assert "9 rows were answered" in said.stderr
    assert "1 of them could not be used" in said.stderr
    answers = list(csv.DictReader(io.StringIO(said.stdout)))
    assert [row["id"] for row in answers] == [str(i) for i in range(9)]
    assert [row["prediction"] != "" for row in answers] == [True] * 8 + [False]


@pytest.mark.full
def test_every_way_of_asking_gives_the_same_answers(shared: Served, tiny: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{shared.port}"
    shared.client.post("/v1/studies", json=document(tiny, "asked")).raise_for_status()
    shared.ended("asked")
    file = tmp_path / "new.csv"
    file.write_text(table(12))
    rows = list(csv.DictReader(io.StringIO(table(12))))
    frame = pd.DataFrame(rows, index=[f"row {i}" for i in range(12)])
    luthier = command_in(tmp_path)
    with Client(url) as client:
        written = client.predict("asked", file, out=tmp_path / "answers.csv", interval_seconds=0.05)
        answers = written.read_text()
        of_rows = client.predict("asked", rows, interval_seconds=0.05)
        of_frame = client.predict("asked", frame, interval_seconds=0.05)
        assert [found.state for found in client.predictions("asked")] == ["complete"] * 3
        with pytest.raises(ServiceError, match="no column 'text' for text; its columns are message"):
            client.predict("asked", [{"message": "hello"}], interval_seconds=0.05)
        with pytest.raises(ValueError, match=r"\.csv"):
            client.predict("asked", tmp_path / "study.yaml")
        tables = client.results("asked").test
        assert tables is not None
        assert sum(one.support for one in tables.classes) == tables.rows == 80
    assert of_rows == list(csv.DictReader(io.StringIO(answers)))
    assert list(of_frame.index) == list(frame.index)
    assert list(of_frame["prediction"]) == [row["prediction"] for row in of_rows]
    assert list(of_frame["score_joy"].astype(str)) == [row["score_joy"] for row in of_rows]

    async def predicted() -> Any:
        async with AsyncClient(url) as twin:
            return await twin.predict("asked", str(file), interval_seconds=0.05)

    assert asyncio.run(predicted()) == of_rows
    said = luthier("predict", "asked", file, "-o", "said.csv", LUTHIER_SERVER=url)
    assert (said.returncode, (tmp_path / "said.csv").read_text()) == (0, answers), said.stderr
    shown = luthier("results", "asked", LUTHIER_SERVER=url)
    assert shown.returncode == 0
    assert "test: by class" in shown.stdout
    assert "validation: least sure" in shown.stdout
