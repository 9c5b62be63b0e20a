"""Messages, forms, cursors and headers of any content are refused with a sentence, or do what they say."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import strategies as st

from luthier.studies.protocol import Assignment
from tests.support.harness import INSPECTION, Running, file_ref, held, running
from tests.support.mutations import VALUES, mutated
from tests.support.searched import searched

COMPARISON = {"examples": 9, "left_out": 0, "units": 9, "independent": True, "champion": {"accuracy": 0.5}}
COMPARISON |= {"challenger": {"accuracy": 0.5}, "gained": 0, "lost": 0, "predictions": file_ref("p.csv.gz", b"x")}
MESSAGES: dict[str, dict[str, Any]] = {
    "claim": {"worker": "w2", "wait_seconds": 0, "device": "cpu", "gpu": {"id": "GPU-1", "total_bytes": 100}},
    "report": {"step": 1, "metrics": {"accuracy": 0.5, "loss": None}, "seconds": 1.0, "best": file_ref("b", b"x")},
    "renew": {"log": "a line"},
    "finish": {
        "status": "failed",
        "reason": "error",
        "problem": {"message": "so it is", "path": ["dataset", 1]},
        "inspection": INSPECTION.model_dump(mode="json"),
        "evaluation": {"test": {"accuracy": 0.5}, "model": file_ref("m", b"x")},
        "comparison": COMPARISON,
        "prediction": {"rows": 1, "unreadable": 0, "file": file_ref("p", b"x")},
    },
}


class Held:
    """A service with one trial that is held; another one takes its place where a message ends it."""

    def __init__(self, house: Running) -> None:
        self.house, self.worker = house, house.worker()
        house.started(self.worker, budget={"trials": 100_000, "failures": 100_000}, parallel=1)
        self.trial: Assignment = self.worker.take()

    def state(self) -> Any:
        """What users see of the study, but for what time alone changes."""
        study = {key: value for key, value in self.house.study().items() if key != "gpu_seconds"}
        trials = self.house.get("/v1/studies/s1/trials?sort=-number&limit=3")["items"]
        return study, [{key: value for key, value in trial.items() if key != "seconds"} for trial in trials]

    def renewed(self) -> None:
        """Hold a trial again."""
        if self.worker.client.post("/v1/worker/renew", json=held(self.trial)).status_code != 200:
            self.trial = self.worker.take()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    with running(tmp_path_factory.mktemp("home"), None) as house:
        yield Held(house)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No message makes the service log an error."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def check(answer: httpx.Response) -> None:
    """The answer is success, or a problem with a sentence."""
    assert answer.status_code < 500, answer.text
    if not answer.is_success:
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["detail"].strip()
        assert len(answer.content) < 20_000


@pytest.mark.parametrize("kind", MESSAGES)
@searched(6, times=300)
def test_any_message_of_a_worker(service: Held, kind: str, limits: hypothesis.settings) -> None:
    @limits
    @hypothesis.given(mutated([MESSAGES[kind]]) | VALUES, st.booleans())
    def search(message: Any, has_lease: bool) -> None:
        if isinstance(message, dict) and has_lease and kind != "claim":
            message = message | held(service.trial)
        before = service.state()
        body = json.dumps(message).encode()
        answer = service.worker.client.post(f"/v1/worker/{kind}", content=body)
        check(answer)
        if not answer.is_success:
            assert service.state() == before
        elif answer.status_code == 200 and kind == "claim":
            service.trial = Assignment.model_validate_json(answer.content)
            service.worker.renew(service.trial)
        service.renewed()

    search()


LINES = [
    b"--b",
    b"--b--",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b'Content-Disposition: form-data; name="file"; filename="a.csv"',
]
LINES += [b'Content-Disposition: form-data; name="name"', b"Content-Disposition: form-data", b"text,label\r\na,1"]
LINES += [b'Content-Disposition: form-data; name="file"; filename="../../a.zip"', b"Content-Type: text/csv", b"PK\3\4"]
FORMS = [b"multipart/form-data; boundary=b", b"multipart/form-data", b"multipart/form-data; boundary=", b"text/csv"]
FORMS += [b'multipart/form-data; boundary="b"; charset=utf-16', b"multipart/form-data; boundary=" + b"b" * 300]


@searched(10, times=300)
def test_any_form(service: Held, limits: hypothesis.settings) -> None:
    whole = [LINES[0], b"\r\n", LINES[5], b"\r\n\r\n", b"text,label\r\na,1", b"\r\n", b"--b--", b"\r\n"]

    @st.composite
    def forms(draw: st.DrawFn) -> bytes:
        parts = list(whole) if draw(st.booleans()) else []
        for _ in range(draw(st.integers(0, 4))):
            piece = draw(st.sampled_from(LINES) | st.binary(max_size=8))
            parts.insert(draw(st.integers(0, len(parts))), piece)
        content = b"".join(parts)
        return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content

    @limits
    @hypothesis.given(forms(), st.sampled_from(FORMS[:1] * 5 + FORMS))
    def search(content: bytes, kind: bytes) -> None:
        before = service.house.get("/v1/datasets")
        answer = service.house.client.post("/v1/datasets", content=content, headers={b"Content-Type": kind})
        check(answer)
        if not answer.is_success:
            assert service.house.get("/v1/datasets") == before

    search()


LISTS = ("/v1/studies", "/v1/datasets", "/v1/workers", "/v1/tasks", "/v1/schedules", "/v1/studies/s1/trials")
SORTS = ["", "value", "-number", "params.epochs", "\0"]
CURSORS = st.text(max_size=70) | st.from_regex(r"[A-Za-z0-9_=-]{0,70}", fullmatch=True)


@searched(12, times=300)
def test_any_cursor_and_any_sort(service: Held, limits: hypothesis.settings) -> None:
    @limits
    @hypothesis.given(st.sampled_from(LISTS), CURSORS, st.sampled_from(SORTS))
    def search(path: str, cursor: str, sort: str) -> None:
        query = {"cursor": cursor.encode("utf-8", "surrogatepass")} | ({"sort": sort} if sort else {})
        check(service.house.client.get(path, params=query))  # type: ignore[arg-type]

    search()


@searched(12, times=300)
def test_any_id_of_an_event(service: Held, limits: hypothesis.settings) -> None:
    ids = st.text(max_size=20) | st.from_regex(r"[0-9]{1,25}(;([0-9]{1,20}:[0-9]{1,14},?){0,3})?", fullmatch=True)

    @limits
    @hypothesis.given(ids, st.booleans())
    def search(text: str, as_header: bool) -> None:
        latin = text.encode("latin-1", "ignore").replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
        headers = {b"Last-Event-ID": latin.strip()} if as_header else {}
        query = {} if as_header else {"last_event_id": text}
        answer = service.house.client.head("/v1/events", headers=headers, params=query)  # its stream ends at once
        assert answer.status_code in (200, 422)

    search()


def test_an_id_of_an_event_has_commas_between_its_parts(service: Held) -> None:
    for text, status in (("0;1:0,2:5", 200), ("0;1:0,", 200), ("0;", 200), ("0;1:01:0", 422), ("0;1:0,,", 422)):
        answer = service.house.client.head("/v1/events", params={"last_event_id": text})
        assert answer.status_code == status, text
