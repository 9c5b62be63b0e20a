"""Addresses of clients, as limits count them. The login and the limits on requests call it."""

import ipaddress


def network_of(address: str) -> str:
    """Return the address, or the /64 network of one of version 6: whoever has one such address has all of them."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))
