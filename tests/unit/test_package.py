"""The names that `luthier` hands on."""

import pytest

import luthier
from luthier.service import client
from luthier.service.download import DownloadError


def test_it_hands_on_the_client_and_its_errors() -> None:
    assert luthier.Client is client.Client
    assert luthier.DownloadError is DownloadError
    for name in luthier.__all__:
        assert getattr(luthier, name) is not None
    with pytest.raises(AttributeError, match="'luthier' has no attribute 'Servant'"):
        luthier.Servant  # type: ignore[attr-defined]  # noqa: B018


def test_one_base_catches_all_that_the_client_says_about_the_service() -> None:
    assert {luthier.ServiceError, luthier.DownloadError} <= set(luthier.LuthierError.__subclasses__())
    assert issubclass(luthier.Unreachable, luthier.ServiceError)
    with pytest.raises(luthier.LuthierError, match="No service can be reached"):
        luthier.Client("http://127.0.0.1:1").get("one")
