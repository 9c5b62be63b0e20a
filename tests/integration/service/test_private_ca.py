"""Clients and workers that reach the service over TLS of a private authority, and through a proxy."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from luthier import AsyncClient, Blocked, Client
from luthier.service.server.app import Tokens
from luthier.studies.protocol import Claim
from luthier.trials.worker.client import WorkerClient, WorkerRefused
from tests.support.command_line import COMMAND, without_luthier
from tests.support.harness import Running, running
from tests.support.tls import ConnectProxy, R, TlsEnd, closed_after

TOKEN, WORKER_TOKEN = "the-token-of-the-users", "the-token-of-the-workers"
NAME = "luthier.test"  # no name server knows it: only the proxy leads there
SETTINGS = ("LUTHIER_CA", "LUTHIER_CLIENT_CERT", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


class Site:
    """A service, the TLS ends before it, and the authority that signs for them."""

    def __init__(self, house: Running, folder: Path, stack: ExitStack) -> None:
        self.house, self.folder, self._stack = house, folder, stack
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.end = self.tls(self.authority.issue_cert("localhost", NAME))
        self.url = f"https://localhost:{self.end.port}"

    def tls(self, certificate: trustme.LeafCert, client_authority: trustme.CA | None = None) -> TlsEnd:
        """Open a TLS end before the service, which may ask for certificates of clients."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        if client_authority is not None:
            client_authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return self.keep(TlsEnd(context, int(self.house.url.rpartition(":")[2])))

    def proxy(self, password: str | None = None, leads: bool = True) -> ConnectProxy:
        """Open a proxy, which alone leads to the service's name."""
        return self.keep(ConnectProxy({f"{NAME}:443": self.end.port} if leads else {}, password))

    def keep(self, relay: R) -> R:
        return self._stack.enter_context(closed_after(relay))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One service for all tests here, which change nothing in it."""
    home = tmp_path_factory.mktemp("tls")
    with running(home, None, Tokens(TOKEN, WORKER_TOKEN)) as house, ExitStack() as stack:
        yield Site(house, home, stack)


@pytest.fixture
def site(shared: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in SETTINGS + PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return shared


def blocked(url: str, **options: object) -> str:
    """Return the sentence with which a client fails that cannot reach the service."""
    with pytest.raises(Blocked) as caught, Client(url, TOKEN, **options) as client:  # type: ignore[arg-type]
        list(client.tasks())
    assert caught.value.status == 0
    return str(caught.value)


def test_an_authority_of_ones_own_is_trusted_by_argument_setting_and_folder(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(site.url, TOKEN, ca=site.ca) as client:
        assert list(client.tasks())
    folder = site.folder / "authorities"
    folder.mkdir()
    (folder / "our own.crt").write_bytes(site.ca.read_bytes())
    for setting, value in (("LUTHIER_CA", site.ca), ("LUTHIER_CA", folder), ("SSL_CERT_FILE", site.ca)):
        with monkeypatch.context() as patch:
            patch.setenv(setting, str(value))
            with Client(site.url, TOKEN) as client:
                assert list(client.tasks())

    async def look() -> None:
        async with AsyncClient(site.url, TOKEN, ca=site.ca) as client:
            assert [task async for task in client.tasks()]
            events = client.events("missing")
            with pytest.raises(Exception, match="missing"):  # over a connection of its own
                await anext(events)

    asyncio.run(look())


def expired(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost", not_after=datetime.now(UTC) - timedelta(days=1))


def other_name(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("elsewhere.test")


@pytest.mark.parametrize(
    ("make", "words"), [(expired, ["has expired", "clock"]), (other_name, ["another name", "LUTHIER_SERVER"])]
)
def test_what_is_wrong_with_a_certificate_is_told(
    site: Site, make: Callable[[trustme.CA], trustme.LeafCert], words: list[str]
) -> None:
    url = f"https://localhost:{site.tls(make(site.authority)).port}"
    text = blocked(url, ca=site.ca)
    assert url in text
    assert all(word in text for word in words)


def test_an_authority_that_is_not_trusted_is_told_with_the_setting(site: Site) -> None:
    assert "that this machine does not trust: put that authority's certificate into a PEM file" in blocked(site.url)
    other = site.folder / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    text = blocked(site.url, ca=other)
    assert f"{other} (LUTHIER_CA) does not hold" in text


def test_settings_that_cannot_be_used_are_refused_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing, junk, folder = site.folder / "none.pem", site.folder / "junk.pem", site.folder / "empty"
    junk.write_text("no certificate")
    folder.mkdir()
    for wrong in (nothing, junk, folder):
        assert f"LUTHIER_CA names {'the folder ' if wrong is folder else ''}{wrong}" in blocked(site.url, ca=wrong)
    assert f"LUTHIER_CLIENT_CERT names {junk}" in blocked(site.url, ca=site.ca, client_cert=junk)
    assert "must be http://HOST:PORT" in blocked(f"https://{NAME}", ca=site.ca, proxy="ftp://proxy")
    monkeypatch.setenv("SSL_CERT_FILE", str(nothing))
    assert f"SSL_CERT_FILE names {nothing}" in blocked(site.url)
    monkeypatch.setenv("LUTHIER_CA", str(junk))
    with pytest.raises(WorkerRefused, match="LUTHIER_CA names"):
        WorkerClient(site.url)


def test_a_service_without_tls_is_told(site: Site) -> None:
    url = site.house.url.replace("http://", "https://")
    assert f"does not speak TLS: if it is meant to be without, use {site.house.url}." in blocked(url, ca=site.ca)


def test_a_clients_own_certificate_is_shown_where_one_is_asked_for(site: Site) -> None:
    end = site.tls(site.authority.issue_cert("localhost"), client_authority=site.authority)
    url = f"https://localhost:{end.port}"
    assert "asks for a client's certificate: set LUTHIER_CLIENT_CERT" in blocked(url, ca=site.ca)
    own = site.folder / "me.pem"
    site.authority.issue_cert("me@here.test").private_key_and_cert_chain_pem.write_to_path(own)
    with Client(url, TOKEN, ca=site.ca, client_cert=own) as client:
        assert list(client.tasks())


def test_a_proxy_leads_clients_and_workers_to_the_service(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = site.proxy("me:s3cret")
    address = f"http://me:s3cret@127.0.0.1:{proxy.port}"
    with Client(f"https://{NAME}", TOKEN, ca=site.ca, proxy=address) as client:
        assert list(client.tasks())
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.setenv("LUTHIER_CA", str(site.ca))
    with Client(f"https://{NAME}", TOKEN) as client:
        assert list(client.tasks())

    async def claim() -> None:
        worker = WorkerClient(f"https://{NAME}", WORKER_TOKEN)
        assert await worker.claim(Claim(worker="w", wait_seconds=0)) is None
        await worker.close()

    asyncio.run(claim())
    assert proxy.targets == [f"{NAME}:443"] * 3


def test_this_machines_loopback_is_asked_without_any_proxy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = site.proxy()
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("LUTHIER_CA", str(site.ca))
    for url in (site.url, site.house.url):
        with Client(url, TOKEN, proxy=f"http://127.0.0.1:{proxy.port}") as client:
            assert list(client.tasks())

    async def claim() -> None:
        worker = WorkerClient(site.house.url, WORKER_TOKEN)
        assert await worker.claim(Claim(worker="w", wait_seconds=0)) is None
        await worker.close()

    asyncio.run(claim())
    assert proxy.taken == 0
    monkeypatch.setenv("NO_PROXY", "test")
    assert "proxy" not in unreachable(f"https://{NAME}")
    assert proxy.taken == 0


def unreachable(url: str) -> str:
    from luthier import Unreachable

    with pytest.raises(Unreachable) as caught, Client(url, TOKEN) as client:
        list(client.tasks())
    return str(caught.value)


def test_a_proxy_that_does_not_lead_there_is_told_without_its_password(site: Site) -> None:
    asks, refuses = site.proxy("me:s3cret"), site.proxy(leads=False)
    gone = site.proxy()
    gone.close()
    cases = {
        f"http://127.0.0.1:{asks.port}": "asks for a name and a password: set HTTPS_PROXY",
        f"http://me:wr0ng@127.0.0.1:{asks.port}": "refuses the name and password",
        f"http://me:wr0ng@127.0.0.1:{refuses.port}": f"does not lead to {NAME} (403 Forbidden)",
        f"http://me:wr0ng@127.0.0.1:{gone.port}": "does not answer",
    }
    for address, words in cases.items():
        text = blocked(f"https://{NAME}", ca=site.ca, proxy=address)
        assert words in text
        assert f"http://127.0.0.1:{address.rpartition(':')[2]}" in text
        assert "wr0ng" not in text


@pytest.mark.commands
@pytest.mark.full
def test_commands_take_the_settings_and_say_what_to_set(site: Site) -> None:
    proxy = site.proxy()
    environment = without_luthier() | {
        "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}",
        "LUTHIER_SERVER": f"https://{NAME}",
        "LUTHIER_TOKEN": TOKEN,
    }
    command = [*COMMAND, "list", "-o", "json"]
    wrong = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("The certificate of https://luthier.test is signed by an authority")
    assert len(wrong.stderr.splitlines()) == 1
    environment["LUTHIER_CA"] = str(site.ca)
    right = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (right.returncode, right.stdout.strip()) == (0, "[]")
