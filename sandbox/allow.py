"""What `Network.allow` permits: names and ports as they are written, and the addresses that names may lead to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import idna

from fastslow.sandbox.sandbox import Network

Address = IPv4Address | IPv6Address

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as a last label: an address as inet_aton(3) reads it, `127.1`, `0x7f.1`
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]+):(?P<port>[0-9]{1,5})")

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291: what is not multicast and may be routed lies in here
_NEVER = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "168.63.129.16/32",  # Azure's metadata and wire server, though its number is a public one
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "2001::/23",  # protocol assignments, Teredo (RFC 4380) among them
        "3fff::/20",  # documentation, RFC 9637
    )
)


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """One entry of `Network.allow`. subdomains: of `host`, and not `host` itself. literal: the host is an address."""

    host: str
    port: int
    subdomains: bool = False
    literal: Address | None = None

    def permits(self, host: str, port: int) -> bool:
        """host: as `normal_host` returns it."""
        return port == self.port and (host.endswith(f".{self.host}") if self.subdomains else host == self.host)

    def __str__(self) -> str:
        return f"{'*.' if self.subdomains else ''}{bracketed(self.host)}:{self.port}"


def rules(network: Network) -> tuple[NetworkRule, ...]:
    """ValueError for an entry that is not `host:port`, `*.domain:port`, `address:port` or `[address]:port`."""
    if isinstance(network.allow, str):
        raise ValueError(
            f"Network(allow=…) is a sequence of entries such as 'index.example:443', got {network.allow!r}"
        )
    return tuple(_rule(entry) for entry in network.allow)


def _rule(entry: str) -> NetworkRule:
    try:
        host, port = split_authority(entry)
        domain = host.removeprefix("*.")
        rule = NetworkRule(normal_host(domain), port, domain != host, literal(normal_host(domain)))
    except ValueError as error:
        raise ValueError(
            f"{entry!r} in Network(allow=…) is not understood: {error}; write 'index.example:443', "
            "'*.example.org:443', '127.0.0.1:8080' or '[::1]:8080', without scheme, path or range of addresses"
        ) from None
    if rule.literal is not None and (rule.subdomains or not _may_be_named(rule.literal)):
        raise ValueError(
            f"{entry!r} in Network(allow=…) leads to an address that sandboxes never reach: "
            "link-local ones hold the credentials of cloud machines, and others are no single machine's"
        )
    return rule


def split_authority(text: str, port: int | None = None) -> tuple[str, int]:
    """Host and port of `host:port`; without one, the default. ValueError for anything else."""
    found = _AUTHORITY.fullmatch(text) or (_AUTHORITY.fullmatch(f"{text}:{port}") if port else None)
    if found is None or not 0 < int(found["port"]) <= 65535:
        raise ValueError("expected a host and a port from 1 to 65535")
    return found["host"], int(found["port"])


def normal_host(host: str) -> str:
    """A name in ASCII and small letters without its last dot, or an address in its shortest form, no brackets.

    ValueError for what is neither: blanks, control characters, `user@`, odd ways to write an address.
    """
    if host.startswith("["):
        return str(IPv6Address(host[1:-1]))
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode()  # IDNAError is a ValueError
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host is not a name")
    return str(IPv4Address(host)) if _NUMBER.fullmatch(labels[-1]) else host


def literal(host: str) -> Address | None:
    """The address, when the host is one and not a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def bracketed(host: str) -> str:
    """As it stands in front of a port."""
    return f"[{host}]" if ":" in host else host


def is_public(address: Address) -> bool:
    """Whether a name may lead there: no private, loopback, link-local, shared, reserved or multicast address, nor an
    IPv6 one that stands for such."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.sixtofour is not None:
            return is_public(address.sixtofour)
        if address not in _GLOBAL_UNICAST or address.scope_id is not None:  # IPv4-mapped ones, too
            return False
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _may_be_named(address: Address) -> bool:
    """Whether an entry may name it: a public address, or one of this machine or of its own network."""
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour):
        return is_public(address)  # one that stands for an inner IPv4 address is not what it seems; name that one
    inside = address.is_loopback or (
        address.is_private
        and not (address.is_link_local or address.is_unspecified or address.is_multicast or address.is_reserved)
        and address not in ip_network("0.0.0.0/8")
    )
    shared = address in ip_network("100.64.0.0/10")
    return inside or shared or is_public(address)
