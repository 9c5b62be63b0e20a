"""Clients that are slow, silent or too many end by themselves, and harm nobody else."""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.harness import TIMINGS, Running, running, spec
from tests.support.raw_http import answer, dialled, head, hung_up
from tests.support.waiting import until

QUICK = {"connection_look_seconds": 0.05, "head_seconds": 0.6, "body_seconds": 0.6, "answer_seconds": 0.6}


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose deadlines are tenths of seconds, and which takes eight connections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luthier.service.server.connection.most_connections", lambda: 8)
        timings = type(TIMINGS)(scheduler_seconds=3600.0, linger_seconds=0.3, **QUICK)
        with running(tmp_path_factory.mktemp("home"), None, timings=timings) as house:
            yield house


def connections(house: Running) -> int:
    return len(house._server.server_state.connections)


def trickle(line: socket.socket, text: bytes, pause: float) -> bool:
    """Send a byte at a time; True once the service has hung up."""
    line.setblocking(False)
    for byte in text:
        try:
            line.send(bytes([byte]))
            time.sleep(pause)
            if line.recv(1000) == b"":
                return True
        except BlockingIOError:
            continue
        except OSError:
            return True
    return False


def test_a_client_that_says_nothing_is_hung_up_on(hasty: Running) -> None:
    with dialled(hasty) as line:
        assert answer(line)[0] == 408
        assert hung_up(line)


def test_a_head_that_comes_a_byte_at_a_time_is_cut_off(hasty: Running) -> None:
    with dialled(hasty) as line:
        assert trickle(line, head("GET", "/healthz", X_Long="x" * 900), 0.01)
    assert hasty.get("/healthz")


@pytest.mark.full
def test_a_second_request_has_a_deadline_too_and_a_pause_before_it_has_not(hasty: Running) -> None:
    with dialled(hasty) as line:
        for _ in range(2):
            line.sendall(head("GET", "/healthz"))
            assert answer(line)[0] == 200
            time.sleep(1.0)
        line.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert answer(line)[0] == 408


def test_a_body_that_stops_or_comes_a_byte_at_a_time_is_cut_off(
    hasty: Running, caplog: pytest.LogCaptureFixture
) -> None:
    begun = head("POST", "/v1/studies", Content_Length="5000")
    with dialled(hasty) as line:
        line.sendall(begun + b"{")
        assert answer(line) == (0, b"")
    with dialled(hasty) as line:
        line.sendall(begun)
        assert trickle(line, b" " * 400, 0.02)
    assert "Traceback" not in caplog.text
    assert hasty.get("/v1/studies")["items"] == []


@pytest.mark.full
def test_a_body_that_takes_longer_but_goes_on_arrives(hasty: Running) -> None:
    text = json.dumps(spec("slow")).encode().ljust(6000)
    with dialled(hasty) as line:
        line.sendall(head("POST", "/v1/studies", Content_Length="6000"))
        for start in range(0, 6000, 200):
            line.sendall(text[start : start + 200])
            time.sleep(0.06)
        assert answer(line)[0] == 201


def test_a_wait_for_work_has_no_deadline(hasty: Running) -> None:
    claim = json.dumps({"worker": "w1", "wait_seconds": 1}).encode()
    headers = {"Content_Length": str(len(claim)), "Content_Type": "application/json"}
    with dialled(hasty) as line:
        line.sendall(head("POST", "/v1/worker/claim", **headers) + claim)
        status, _ = answer(line)
        assert status in (200, 204)


def test_an_answer_that_nobody_reads_is_given_up(hasty: Running) -> None:
    with dialled(hasty, receive_buffer=4096) as line:
        port = line.getsockname()[1]
        is_open = lambda: any(each.client[1] == port for each in hasty._server.server_state.connections)  # noqa: E731
        until(is_open)
        line.sendall(head("GET", "/static/bundle.js", Accept_Encoding="identity") * 4)
        until(lambda: not is_open(), seconds=20)


def test_after_an_early_answer_the_rest_of_a_body_is_not_taken_for_long(hasty: Running) -> None:
    with dialled(hasty) as line:
        line.sendall(head("POST", "/login", Transfer_Encoding="chunked"))
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            for _ in range(2000):
                line.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                time.sleep(0.01)


def test_idle_connections_make_room_for_those_that_ask(hasty: Running) -> None:
    with dialled(hasty) as old:
        old.sendall(head("GET", "/healthz"))
        assert answer(old)[0] == 200
        lines = [dialled(hasty) for _ in range(30)]
        opened = [line.__enter__() for line in lines]
        with dialled(hasty) as line:
            line.sendall(head("GET", "/healthz"))
            assert answer(line)[0] == 200
        until(lambda: connections(hasty) <= 8)
        for line, _ in zip(lines, opened, strict=True):
            line.__exit__(None, None, None)


def test_what_is_no_http_is_answered_and_hung_up_on(hasty: Running) -> None:
    with dialled(hasty) as line:
        line.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n")
        status, got = answer(line)
        assert status == 400
        assert b"x-content-type-options: nosniff" in got.lower()
        assert hung_up(line)
