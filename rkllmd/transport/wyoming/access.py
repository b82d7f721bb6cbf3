"""Who may come over TCP. Wyoming has no keys, so it goes by networks.

On the Unix socket the file's permissions decide. Over TCP this machine may come, and who is in one
of `wyoming.networks`; an address that is not loopback is refused at the start without them.
"""

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

from rkllmd.transport.listen import ListenError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks_of(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks of the setting, or a `ListenError`."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ListenError(
            f"wyoming.networks: {error}, allowed: networks as 192.168.1.0/24"
        ) from None


def check_bind(listening: socket.socket, networks: Sequence[Network]) -> None:
    """Refuse an address that strangers can reach when no networks are named."""
    if listening.family == socket.AF_UNIX or networks:
        return
    address = listening.getsockname()[0]
    if not _address(address).is_loopback:
        raise ListenError(
            f"{address} can be reached from outside, and Wyoming knows no keys; set "
            "wyoming.networks to the networks that may come, or wyoming.host to 127.0.0.1"
        )


def is_let_in(peername: Any, networks: Sequence[Network]) -> bool:
    """Whether who comes over TCP from there may."""
    if not peername:
        return False  # it is gone already
    address = _address(peername[0])
    return address.is_loopback or any(address in network for network in networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
