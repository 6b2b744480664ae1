"""What a Redis URL says, whichever kind it is, and that no complaint about one shows a part of it."""

from __future__ import annotations

import pytest

from errand.redis_url import RedisUrl


def test_what_a_sentinel_url_says() -> None:
    url = RedisUrl.parse(
        "redis+sentinel://errand:p%40s%2Bs+@h1,[::1]:7,h3:8/my%20master/3?sentinel_username=u&sentinel_password=a+%2Bb"
    )
    assert url.by_sentinel and url.addresses == (("h1", 26_379), ("::1", 7), ("h3", 8))
    assert url.master == "my master"
    assert url.servers.options == {"username": "errand", "password": "p@s+s+", "db": 3}
    assert url.sentinels.options == {"username": "u", "password": "a++b"}
    assert url.passwords == ("p%40s%2Bs+", "a+%2Bb")
    assert url.shown == "redis+sentinel://h1,[::1]:7,h3:8/my%20master/3"


@pytest.mark.parametrize(
    ("text", "address", "options"),
    [
        ("redis://h", ("h", 6_379), {"db": 0}),
        ("redis://u:p%2F@[::1]:1/3/", ("::1", 1), {"username": "u", "password": "p/", "db": 3}),
        ("redis://:p:q@h/3?db=4", ("h", 6_379), {"password": "p:q", "db": 4}),
        ("rediss://h", ("h", 6_379), {"db": 0, "ssl_check_hostname": True}),
        (
            "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/a%20b",
            ("h", 6_379),
            {"db": 0, "ssl_cert_reqs": "none", "ssl_ca_certs": "/a b", "ssl_check_hostname": False},
        ),
    ],
)
def test_what_the_url_of_a_server_says(text: str, address: tuple[str, int], options: dict[str, object]) -> None:
    url = RedisUrl.parse(text)
    assert (url.addresses, url.servers.options, url.by_sentinel) == ((address,), options, False)
    assert url.servers.tls == text.startswith("rediss")


def test_what_the_url_of_a_socket_says() -> None:
    url = RedisUrl.parse("unix:///run/my%20redis.sock?db=2&username=u&password=p%26")
    assert (url.socket, url.hosts) == ("/run/my redis.sock", ())
    assert url.servers.options == {"username": "u", "password": "p&", "db": 2}
    assert (url.passwords, url.shown) == (("p%26",), "unix:///run/my%20redis.sock")


@pytest.mark.parametrize(
    ("url", "servers", "sentinels"),
    [
        ("redis+sentinel://h/m", False, False),
        ("rediss+sentinel://h/m", True, True),
        ("redis+sentinel://h/m?tls=true", True, False),
        ("rediss+sentinel://h/m?sentinel_tls=false", True, False),
        ("redis+sentinel://h/m?sentinel_tls=true", False, True),
    ],
)
def test_tls_is_for_both_sides_unless_one_differs(url: str, servers: bool, sentinels: bool) -> None:
    parsed = RedisUrl.parse(url)
    assert (parsed.servers.tls, parsed.sentinels.tls) == (servers, sentinels)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hunter2", "must begin with redis:// or"),
        ("http://hunter2@h", "must begin with redis:// or"),
        ("redis://:hunter2#x@h", "must not hold a '#'"),
        ("redis://:hunter2/x@h", "has no readable host and port"),
        ("redis://h1,hunter2", "has no readable host and port"),
        ("redis://h:hunter2", "has no readable host and port"),
        ("redis://h:0", "has no readable host and port"),
        ("redis://u:hunter2@", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis://h/hunter2", "the database must be a number"),
        ("redis://h?db=hunter2", "the database must be a number"),
        ("redis://h?hunter2=1", "has an unknown option"),
        ("redis://h?ssl_cert_reqs=none", "has an unknown option"),
        ("rediss://h?ssl_cert_reqs=hunter2", "its option ssl_cert_reqs must be required or none"),
        ("rediss://h?ssl_certfile=hunter2", "are needed together"),
        ("unix://hunter2/redis.sock", "needs an absolute path"),
        ("redis+sentinel://h:port/m", "has no readable sentinels"),
        ("redis+sentinel://h:0/m", "has no readable sentinels"),
        ("redis+sentinel://u:hunter2/x@h/m", "has no readable sentinels"),
        ("redis+sentinel://h1,,h2/m", "has no readable sentinels"),
        ("redis+sentinel://h", "needs the master's name"),
        ("redis+sentinel://h/", "needs the master's name"),
        ("redis+sentinel://h/m/hunter2", "the database must be a number"),
        ("redis+sentinel://h/m/0/1", "the database must be a number"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_a_part_of_it(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        RedisUrl.parse(url)
    assert "hunter2" not in str(refused.value)
