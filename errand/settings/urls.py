"""Settings that are URLs of storage or mail: their schemes, their addresses, the passwords in them."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from errand.redis_url import ENCODE

BUCKETS = ("s3", "gs", "az")


def url_with_scheme(*schemes: str) -> AfterValidator:
    """For a field of `Settings`: a URL of one of these schemes that names a host, a bucket or an absolute path."""

    def check(url: SecretStr | str) -> SecretStr | str:
        check_url(url.get_secret_value() if isinstance(url, SecretStr) else url, *schemes)
        return url

    return AfterValidator(check)


def check_url(url: str, *schemes: str) -> None:
    """Raises ValueError if it is no URL of one of these schemes, with an address."""
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ValueError(f"must begin with {' or '.join(scheme + '://' for scheme in schemes)}")
    _check_address(url)


def _check_address(url: str) -> None:
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        # urllib's own words can quote a part of a password
        raise ValueError(f"has no readable host and port {ENCODE}") from None
    if parts.scheme == "file":
        if parts.hostname or port or not parts.path.strip("/"):
            raise ValueError(f"needs an absolute path: {parts.scheme}:///some/where")
    elif not parts.hostname:
        raise ValueError("names no bucket" if parts.scheme in BUCKETS else "names no host")


def passwords_in(url: str) -> list[str]:
    """As they stand in it, %-encoded or not."""
    parts = urlsplit(url)
    options = (option.partition("=") for option in parts.query.split("&"))
    given = [parts.password, *(value for name, _, value in options if "password" in name)]
    return [password for password in given if password]
