"""The way to a service over HTTP: the authority that is trusted, a client's own certificate, and the proxy between.

The Python client and the workers ask it, so that both take the same settings and give the same cures: LUTHIER_CA,
LUTHIER_CLIENT_CERT, HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR. It sends nothing itself, and no
sentence of it holds a password.
"""

import importlib.util
import os
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from luthier.studies.host import is_loopback

CA, CLIENT_CERT = "LUTHIER_CA", "LUTHIER_CLIENT_CERT"
PEM_ENDINGS = (".pem", ".crt", ".cer")  # of the files of a folder of authorities
# OpenSSL's X509_V_ERR_...
NOT_YET_VALID, EXPIRED = 9, 10
UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
OTHER_NAME = (62, 64)
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


class BadWay(ValueError):
    """A setting of the way to the service is wrong. The text is a sentence that names it, and the cure."""


@dataclass(frozen=True)
class Way:
    """The way to one service.

    Attributes:
        url: the service's.
        ca: a PEM file, or a folder of some, of the only authorities that are trusted; None: the public ones, or those
            of SSL_CERT_FILE or SSL_CERT_DIR.
        certificate: a PEM file with the client's certificate and its key; None for none.
        proxy: URL of the proxy between, which may hold a password; None where there is none.
    """

    url: str
    ca: str | None
    certificate: str | None
    proxy: str | None

    @classmethod
    def to(cls, url: str, ca: str | None = None, certificate: str | None = None, proxy: str | None = None) -> "Way":
        """Return the way to a URL, by the arguments, and where they are None by the environment.

        This machine's loopback is never behind a proxy: a proxy elsewhere could not reach it. Raises BadWay.
        """
        ca = ca or os.environ.get(CA) or None
        certificate = certificate or os.environ.get(CLIENT_CERT) or None
        parts = urlsplit(url)
        between = None if is_loopback(parts.hostname or "") else proxy or _proxy_of_environment(url)
        if between is not None:
            between = _checked_proxy(between)
        return cls(url, ca, certificate, between)

    def options(self) -> dict[str, Any]:
        """Return the options that an httpx client takes for this way. Raises BadWay."""
        context = self.tls()
        if self.proxy is None:
            return {"verify": context, "trust_env": False}
        inner = httpx.create_ssl_context() if urlsplit(self.proxy).scheme == "https" else None
        return {"verify": context, "trust_env": False, "proxy": httpx.Proxy(self.proxy, ssl_context=inner)}

    def tls(self) -> ssl.SSLContext:
        """Return what certificates are checked with; each is checked. Raises BadWay."""
        if urlsplit(self.url).scheme != "https":
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; it trusts nobody, and loads nothing
        context = _public_authorities() if self.ca is None else _authorities(self.ca)
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate)
            except (OSError, ssl.SSLError) as error:
                raise BadWay(
                    f"{CLIENT_CERT} names {self.certificate}, which cannot be used ({_reason(error)}): it must be a "
                    "PEM file with the client's certificate and its private key, without a password."
                ) from None
        return context

    def explain(self, error: BaseException) -> str | None:
        """Return why the service could not be reached, and the cure, as a sentence; None where no setting would help.

        Args:
            error: what httpx raised.
        """
        inner = next((one for one in _chain(error) if isinstance(one, ssl.SSLError)), None)
        if isinstance(inner, ssl.SSLCertVerificationError):
            return self._distrust(inner)
        if inner is not None:
            return self._refused_handshake(inner)
        if isinstance(error, httpx.ProxyError):
            return self._refusal(str(error))
        if self.proxy is not None and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return (
                f"The proxy {self.shown_proxy} does not answer ({_reason(error)}): correct {self._setting}, or, where "
                f"this machine reaches {self._host} itself, add that name to NO_PROXY."
            )
        return None

    def explain_answer(self, status: int) -> str | None:
        """Return why an answer is the proxy's and not the service's, as a sentence; None where it is not."""
        return self._refusal("407 Proxy Authentication Required") if self.proxy is not None and status == 407 else None

    @property
    def shown_proxy(self) -> str:
        """The proxy's address, without a name and a password."""
        parts = urlsplit(self.proxy or "")
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def _host(self) -> str:
        return urlsplit(self.url).hostname or self.url

    @property
    def _setting(self) -> str:
        return f"{urlsplit(self.url).scheme.upper()}_PROXY"

    def _refusal(self, answer: str) -> str:
        if "407" in answer:
            known = "@" in urlsplit(self.proxy or "").netloc
            what = "refuses the name and password that it was given" if known else "asks for a name and a password"
            return f"The proxy {self.shown_proxy} {what}: set {self._setting} to http://NAME:PASSWORD@HOST:PORT."
        return (
            f"The proxy {self.shown_proxy} does not lead to {self._host} ({answer or 'it gave no reason'}): ask who "
            f"keeps it to allow that, correct {self._setting}, or, where this machine reaches {self._host} itself, add "
            "that name to NO_PROXY."
        )

    def _distrust(self, error: ssl.SSLCertVerificationError) -> str:
        code = error.verify_code
        if code == EXPIRED:
            return (
                f"The certificate of {self.url} has expired: have it renewed there. (If it has not, the clock of this "
                "machine is wrong.)"
            )
        if code == NOT_YET_VALID:
            return f"The certificate of {self.url} is not valid yet: set the clock of this machine, or of that one."
        if code in OTHER_NAME:
            return (
                f"The certificate of {self.url} is made for another name ({error.verify_message.rstrip('.')}): reach "
                "the service by the name in its certificate (LUTHIER_SERVER, --server)."
            )
        if code in UNKNOWN_AUTHORITY:
            trusted = "this machine does not trust" if self.ca is None else f"{self.ca} ({CA}) does not hold"
            return (
                f"The certificate of {self.url} is signed by an authority that {trusted}: put that authority's "
                f"certificate into a PEM file and name it in {CA}."
            )
        return f"The certificate of {self.url} cannot be trusted: {error.verify_message.rstrip('.')}. {CA} names a PEM."

    def _refused_handshake(self, error: ssl.SSLError) -> str:
        reason = error.reason or ""
        if "WRONG_VERSION_NUMBER" in reason or "UNKNOWN_PROTOCOL" in reason or "HTTP_REQUEST" in reason:
            where = self.url.replace("https://", "http://", 1)
            return f"{self.url} does not speak TLS: if it is meant to be without, use {where}."
        if "CERTIFICATE_REQUIRED" in reason or ("ALERT" in reason and "CERT" in reason) or "UNKNOWN_CA" in reason:
            what = "does not take the certificate of" if self.certificate else "asks for a client's certificate: set"
            return f"{self.url} {what} {CLIENT_CERT}, a PEM file with a certificate that it trusts, and its key."
        return f"No TLS could be agreed on with {self.url}: {_reason(error)}."


def _public_authorities() -> ssl.SSLContext:
    """Return httpx's own authorities, or those of SSL_CERT_FILE or SSL_CERT_DIR. Raises BadWay."""
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        named = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), "SSL_CERT_FILE")
        raise BadWay(f"{named} names {os.environ.get(named)}, which cannot be read ({_reason(error)}).") from None


def _authorities(place: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities in a file or a folder, and no others. Raises BadWay."""
    try:
        path = Path(place).expanduser()
    except RuntimeError:  # the home of nobody
        raise BadWay(f"{CA} names {place}, whose ~ leads nowhere: name the whole path.") from None
    context = ssl.create_default_context(cadata=None, capath=str(path)) if path.is_dir() else _empty_context()
    try:
        files = sorted(file for file in path.iterdir() if file.suffix in PEM_ENDINGS) if path.is_dir() else [path]
        for file in files:
            context.load_verify_locations(cafile=str(file))
    except (OSError, ssl.SSLError) as error:
        raise BadWay(f"{CA} names {place}, which cannot be read as PEM ({_reason(error)}).") from None
    if path.is_dir() and not files and not any(path.iterdir()):
        raise BadWay(f"{CA} names the folder {place}, which is empty: put PEM files (*.pem) of authorities there.")
    return context


def _empty_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it checks certificates and names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _proxy_of_environment(url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for a URL."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return None
    return proxy


def _checked_proxy(proxy: str) -> str:
    """Return a proxy's URL with its scheme, http where it has none. Raises BadWay."""
    whole = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(whole)
        usable = parts.scheme in PROXY_SCHEMES and parts.hostname and parts.port != 0 and httpx.URL(whole).host
    except (ValueError, httpx.InvalidURL):  # its text holds a part of the address
        usable, parts = False, urlsplit("")
    if not usable:
        raise BadWay("The proxy is no URL: HTTPS_PROXY, HTTP_PROXY or `proxy` must be http://HOST:PORT.")
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise BadWay('A proxy of socks5:// needs another package: pip install "httpx[socks]".')
    return whole


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it comes from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _reason(error: BaseException) -> str:
    """Return an error of the system or of OpenSSL in a few words."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    return str(error).rstrip(".") or type(error).__name__
