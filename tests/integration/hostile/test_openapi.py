"""Schemathesis finds nothing: no error of the service, no answer that the OpenAPI document does not list."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.service.server.app import Tokens
from tests.support.openapi_fuzz.command import fuzz
from tests.support.openapi_fuzz.house import populated

pytest.importorskip("schemathesis")  # of the extra `dev`; an older environment may lack it

USER, WORKER = "user-token-0123456789", "worker-token-0123456789"
ALL_PHASES = "examples,coverage,fuzzing,stateful"
Check = Callable[..., None]


@pytest.fixture
def check(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Check:
    """A function that lets the fuzzer loose on a service, and fails where it found anything."""

    def fuzzed(phases: str, examples: int, tokens: bool = True, *options: str) -> None:
        (tmp_path / "fuzz").mkdir()
        with populated(tmp_path / "home", None, Tokens(USER, WORKER) if tokens else None) as house:
            given = (USER, WORKER) if tokens else None
            ended = fuzz(house.url, tmp_path / "fuzz", given, phases, examples, *options, timeout_seconds=20_000)
        print(ended.stdout, ended.stderr)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "Test cases:" in ended.stdout
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []

    return fuzzed


@pytest.mark.full
@pytest.mark.timeout(600)
def test_no_request_is_answered_otherwise_than_documented(check: Check) -> None:
    check(ALL_PHASES, 15)


@pytest.mark.hostile
@pytest.mark.timeout(21_600)
@pytest.mark.parametrize("tokens", [True, False], ids=["with tokens", "without"])
def test_a_thousand_requests_an_operation_are_answered_as_documented(check: Check, tokens: bool) -> None:
    """Without tokens the service asks for none: then nothing is to be refused for the lack of one."""
    options = () if tokens else ("--exclude-checks", "ignored_auth,missing_required_header")
    check(ALL_PHASES, 1000, tokens, *options)
