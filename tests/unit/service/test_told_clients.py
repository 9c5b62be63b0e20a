"""What clients say while they wait, and what a list of studies says of a paused one."""

import logging

import pytest

from luthier.service.cli.study_tables import _fault
from luthier.service.client import Client
from luthier.service.client.errors import ServiceError, Unreachable
from luthier.service.client.events import Following
from luthier.service.schemas import StudyView


def test_a_stream_that_is_refused_for_a_limit_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    following = Following("one", None, (), None)
    with caplog.at_level(logging.WARNING, "luthier"):
        for _ in range(3):
            following.excuse(ServiceError(429, "Too many", "This client has 100 event streams open already."))
        following.excuse(Unreachable("The service at http://x did not answer in time."))
    assert [record.message for record in caplog.records] == [
        "This client has 100 event streams open already. It asks again."
    ]


def test_a_list_says_why_a_study_is_paused_with_the_reason() -> None:
    told = "5 trials in a row failed, all with: RuntimeError: CUDA error (trial 0). Mend it, then `luthier resume s`."
    study = StudyView.model_construct(error=None, waiting=None, state="paused", message=told, warnings=[told])
    assert _fault(study) == told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "https://h", "ca": "~nobody-of-this-name/ca.pem"}, "LUTHIER_CA names"),
        ({"url": "http://h", "proxy": "http://\u00fc..:1"}, "The proxy is no URL"),
        ({"url": "http://["}, "No service can be reached at"),
        ({"url": "http://u:secret@["}, "No service can be reached at"),
    ],
)
def test_a_way_that_cannot_be_is_a_sentence(options: dict[str, str], words: str) -> None:
    with pytest.raises(Unreachable, match=words) as caught:
        Client(**options)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
