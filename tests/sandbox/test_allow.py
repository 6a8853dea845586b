from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastslow.sandbox import DockerSandbox, Network
from fastslow.sandbox.allow import is_public, normal_host, rules, split_authority


@pytest.mark.parametrize(
    ("entry", "host", "port"),
    [
        ("index.example:443", "index.example", 443),
        ("Index.Example.:443", "index.example", 443),
        ("bücher.example:80", "xn--bcher-kva.example", 80),
        ("*.example.org:443", "a.b.example.org", 443),
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("10.1.2.3:1", "10.1.2.3", 1),
        ("[0:0::1]:65535", "::1", 65535),
        ("snake_case.example:80", "snake_case.example", 80),
    ],
)
def test_what_an_entry_permits(entry: str, host: str, port: int) -> None:
    [rule] = rules(Network((entry,)))
    assert rule.permits(host, port)
    assert not rule.permits(host, port % 65535 + 1)
    assert not rule.permits(f"x{host}", port) or rule.subdomains
    assert rules(Network((str(rule),))) == (rule,)


@pytest.mark.parametrize("host", ["example.org", "evilexample.org", "example.org.evil", "x.example.com", ""])
def test_what_a_wildcard_does_not_permit(host: str) -> None:
    assert not rules(Network(("*.example.org:443",)))[0].permits(host, 443)


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "",
            ":",
            "index.example",
            ":443",
            "index.example:",
            "index.example:0",
            "index.example:65536",
            "index.example:-1",
            "index.example:+1",
        ),
        *(
            "https://index.example:443",
            "index.example:443/simple",
            "user@index.example:443",
            "index.example:http",
            "index.example: 443",
        ),
        *("10.0.0.0/8:80", "*:443", "*.*.org:443", "a*.org:443", "*.:443", "index..example:443", "-.org:1", "..:1"),
        *(
            "index\0.example:443",
            "in dex.example:443",
            "index.example\n:443",
            "index.example\r\n:443",
            "\x7f.org:443",
            "index.example:443\n",
        ),
        *("127.1:80", "2130706433:80", "0x7f.0.0.1:80", "0177.0.0.1:80", "a.1:80", "*.0.0.1:80", "*.127.0.0.1:80"),
        *("::1:80", "[::1%lo]:80", "[::1]", "[1.2.3.4]:80", "[index.example]:443", "a" * 64 + ".org:1"),
        *("169.254.169.254:80", "0.0.0.0:80", "224.0.0.1:80", "255.255.255.255:80", "240.0.0.1:80", "0.1.2.3:80"),
        *(
            "[::]:80",
            "[fe80::1]:80",
            "[ff02::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[2002:7f00:1::]:1",
        ),
        ".".join(["a" * 60] * 5) + ":443",
    ],
)
def test_entries_that_make_no_sense(entry: str) -> None:
    with pytest.raises(ValueError, match=r"Network\(allow=…\)"):
        DockerSandbox(network=Network((entry,)))


def test_a_single_text_is_not_a_sequence_of_entries() -> None:
    with pytest.raises(ValueError, match="is a sequence"):
        rules(Network("index.example:443"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
        *("0.0.0.0", "0.1.2.3", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1"),
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254"),
        *("ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a00:1"),
        *("64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1", "2001:db8::1", "3fff::1", "100::1"),
        *("64:ff9b::169.254.169.254", "64:ff9b::100.64.0.1", "2002:6440:1::", "5f00::1", "2001:20::1"),
    ],
)
def test_addresses_that_no_name_may_lead_to(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "151.101.0.223", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::"]
)
def test_addresses_that_a_name_may_lead_to(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(address: IPv4Address | IPv6Address) -> None:
    if is_public(address):
        meant = getattr(address, "sixtofour", None) or address  # newer Pythons call all of 6to4 private
        assert not any(
            getattr(meant, f"is_{kind}") for kind in ("private", "loopback", "link_local", "multicast", "unspecified")
        )


@given(st.text(max_size=40) | st.from_regex(r"[\w.\[\]:*@/%-]{1,20}(:[0-9]{1,6})?", fullmatch=True))
def test_authorities_are_understood_or_refused(text: str) -> None:
    try:
        host, port = split_authority(text, 80)
        name = normal_host(host)
    except ValueError:
        return
    assert 0 < port < 65536
    assert name.isascii()
    assert name == name.lower()
    assert not set(name) & set(" \t\r\n\0/@?#\\[]%")
