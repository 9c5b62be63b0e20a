"""The login by a reverse proxy: it has asked the person who they are, and says so in a header.

Off unless LUTHIER_PROXY_USER_HEADER is set. The header counts only on connections from the proxy's own addresses: those
of the socket's peer, whatever X-Forwarded-For says. Anybody else's header is passed over.
"""

import ipaddress
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from luthier.service.access.tokens import NAME, NAME_RULE, RESERVED
from luthier.service.caller import Scope
from luthier.service.errors import Forbidden
from luthier.service.settings import Settings

PEER = "luthier.peer"  # the key of a request's scope under which the address of the socket's peer is
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SocketPeer:
    """Remember who opened the connection, before X-Forwarded-For of a proxy on this machine replaces it.

    It takes the place of uvicorn's own treatment of these headers, which leaves no trace of the peer.
    """

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        """Put it before `app`; `trusted`: addresses of proxies whose X-Forwarded-For counts, as uvicorn takes them."""
        inner: Any = app
        self._app: Any = ProxyHeadersMiddleware(inner, trusted)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Hand on a request."""
        if scope["type"] == "http":
            scope[PEER] = scope["client"][0] if scope.get("client") else ""
        await self._app(scope, receive, send)


@dataclass(frozen=True)
class ProxyLogin:
    """How the people are known that a proxy names.

    Attributes:
        header: that names the person.
        networks: of the proxies that may send it.
        admins: names of people who are admins.
        scope: of those who are neither, and have no token of their name; None: they may do nothing.
        project: theirs.
    """

    header: str
    networks: tuple[Network, ...]
    admins: frozenset[str]
    scope: Scope | None
    project: str

    @classmethod
    def of(cls, settings: Settings) -> "ProxyLogin | None":
        """Return the login that the settings switch on; None for none."""
        if settings.proxy_user_header is None:
            return None
        scope = None if settings.proxy_scope == "none" else Scope(settings.proxy_scope)
        admins = frozenset(settings.proxy_admin_names)
        return cls(settings.proxy_user_header, settings.proxy_networks, admins, scope, settings.proxy_project)

    def name(self, request: Request) -> str | None:
        """Return whom a proxy names; None where none does.

        Raises:
            Forbidden: it names nobody who could have a token, or two.
        """
        names = request.headers.getlist(self.header)
        if not names or not self._is_proxy(request.scope.get(PEER, "")):
            return None
        if len(names) > 1:
            raise Forbidden(f"The header {self.header} came twice: the proxy must replace what its client sends.")
        name = names[0].strip().lower()
        if not NAME.fullmatch(name) or name in RESERVED:
            text = f"The proxy names a person in {self.header} whose name cannot be a token's"
            raise Forbidden(f"{text}: {NAME_RULE}, and none of {', '.join(sorted(RESERVED))}.")
        return name

    def _is_proxy(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None)
        return any((mapped or peer) in network for network in self.networks)
