"""Settings that are URLs: their schemes, their addresses, the passwords in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from errand.redis_url import ENCODE, SentinelUrl

BUCKETS = ("s3", "gs", "az")


def url_with_scheme(*schemes: str) -> AfterValidator:
    """For a field of `Settings`: a URL of one of these schemes that names a host, a bucket or an absolute path."""

    def check(url: SecretStr | str) -> SecretStr | str:
        text = url.get_secret_value() if isinstance(url, SecretStr) else url
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must begin with {' or '.join(scheme + '://' for scheme in schemes)}")
        _check_address(text)
        return url

    return AfterValidator(check)


def _check_address(url: str) -> None:
    if SentinelUrl.matches(url):
        SentinelUrl.parse(url)
        return
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        # urllib's own words can quote a part of a password
        raise ValueError(f"has no readable host and port {ENCODE}") from None
    if parts.scheme in ("file", "unix"):
        if parts.hostname or port or not parts.path.strip("/"):
            raise ValueError(f"needs an absolute path: {parts.scheme}:///some/where")
    elif not parts.hostname:
        raise ValueError("names no bucket" if parts.scheme in BUCKETS else "names no host")


def passwords_in(url: str) -> list[str]:
    """As they stand in it, %-encoded or not."""
    # by hand: several sentinels are no host to urllib, which refuses some of them (`h1:1,[::1]:2`) in newer Pythons
    authority, query = re.split(r"[/?#]", url.partition("://")[2])[0], url.partition("?")[2]
    password = authority.rpartition("@")[0].partition(":")[2]
    options = (option.partition("=") for option in query.split("&"))
    return [*filter(None, [password]), *(value for name, _, value in options if "password" in name and value)]
