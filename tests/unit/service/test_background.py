"""The thread that does something at intervals goes on after an error, and logs it once."""

import logging

import pytest
from sqlalchemy.exc import OperationalError

from luthier.service.background import Every
from tests.support.waiting import until


def test_an_error_is_logged_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    away = OperationalError("select 1", None, Exception("connection refused"))
    outcomes = [away, away, away, None, away, ValueError("other"), ValueError("other")]
    calls = []

    def tick() -> None:
        calls.append(len(calls))
        error = outcomes[len(calls) - 1] if len(calls) <= len(outcomes) else None
        if error is not None:
            raise error

    thread = Every("test", 0.001, tick)
    with caplog.at_level(logging.WARNING, logger="luthier"):
        thread.start()
        until(lambda: len(calls) > len(outcomes))
        thread.stop()
        thread.join(5)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "ERROR"]


def test_the_first_call_may_come_sooner_than_the_others() -> None:
    calls: list[int] = []
    thread = Every("test", 3600.0, lambda: calls.append(1), first=0.001)
    thread.start()
    until(lambda: bool(calls))
    thread.stop()
    thread.join(5)
    assert calls == [1]
