"""Which addresses a job may connect to."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from errand.resources.guard import AddressGuard, AddressRefused, UrlPolicy

REFUSED = [
    # this machine, this network
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "::", "::1"),
    # private, shared and link-local networks; the cloud's metadata service is among the last
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255"),
    *("169.254.169.254", "fe80::1", "fc00::1", "fd12:3456::1", "fec0::1", "fd00:ec2::254"),
    # special purposes
    *("192.0.0.8", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255"),
    *("198.51.100.1", "203.0.113.1", "192.31.196.1", "192.52.193.1", "192.175.48.1", "168.63.129.16"),
    *("2001:db8::1", "3fff::1", "5f00::1", "100::1", "2001:2::1", "2001:20::1", "2620:4f:8000::1", "4000::1"),
    # multicast, reserved, broadcast
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "ff02::1", "ff0e::1"),
    # IPv6 that hides an IPv4 address
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b:1::1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a00:1::1", "2001::7f00:1", "2001:0:7f00:1::"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1"),
    *("192.0.1.1", "192.167.1.1", "168.63.129.15", "198.17.0.1", "198.20.0.1", "223.255.255.255", "126.0.0.1"),
    *("2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8888", "2003::1", "::ffff:8.8.8.8"),
]


def allows(guard: AddressGuard, address: str, port: int = 443) -> bool:
    return guard.allows(ipaddress.ip_address(address), port)


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not allows(AddressGuard(), address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert allows(AddressGuard(), address)


def test_named_networks_are_allowed_also_if_ipv6_carries_them() -> None:
    guard = AddressGuard([ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("fd00::/8")])
    assert all(allows(guard, address) for address in ("127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "fd00::1"))
    assert not any(allows(guard, address) for address in ("10.0.0.1", "::1", "::127.0.0.1", "fc00::1"))


def test_only_the_named_endpoint_is_allowed() -> None:
    guard = AddressGuard(allow_endpoints=[("127.0.0.1", 8010)])
    assert allows(guard, "127.0.0.1", 8010) and allows(guard, "::ffff:127.0.0.1", 8010)
    assert not any(
        allows(guard, address, port) for address, port in [("127.0.0.1", 8011), ("127.0.0.2", 8010), ("::1", 8010)]
    )


def test_a_socket_is_opened_for_an_allowed_candidate_only() -> None:
    guard = AddressGuard()
    with guard.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 443))) as opened:
        assert (opened.family, opened.type) == (socket.AF_INET, socket.SOCK_STREAM)
    for family, address in [
        (socket.AF_INET, ("127.0.0.1", 443)),
        (socket.AF_INET6, ("fe80::1%lo", 443, 0, 1)),
        (socket.AF_UNIX, ("1.1.1.1", 443)),
    ]:
        with pytest.raises(AddressRefused, match="WEBHOOK_ALLOW_NETWORKS"):
            guard.open_socket((family, socket.SOCK_STREAM, 6, "", address))


def test_a_refusal_does_not_show_the_address_of_a_name() -> None:
    with pytest.raises(AddressRefused) as refused:
        AddressGuard().open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 443)))
    assert "10.1.2.3" not in str(refused.value)


@pytest.mark.parametrize("port", [80, 443, 1024, 65_535, 22, 25, 0])
def test_ports_below_1024_are_refused_but_those_of_the_web_and_those_named(port: int) -> None:
    taken = port in (80, 443) or port >= 1024
    loopback = ipaddress.ip_network("127.0.0.0/8")
    for guard in (AddressGuard(), AddressGuard([loopback])):
        assert allows(guard, "1.1.1.1", port) is taken
    assert allows(AddressGuard([loopback]), "127.0.0.1", port) is taken
    assert allows(AddressGuard(policy=UrlPolicy(more_ports=frozenset({25}))), "1.1.1.1", 25)
    assert allows(AddressGuard(allow_endpoints=[("127.0.0.1", port)]), "127.0.0.1", port)
