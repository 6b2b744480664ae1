"""The signature, against AWS's own test suite ("aws-sig-v4-test-suite"), for the requests that have no query."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from errand.mail.providers.aws_signature import AwsCredentials, AwsSigner

KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/"
    "qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xV"
    "qr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("method", "more", "body", "token", "signed", "signature"),
    [
        ("GET", {}, b"", None, "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", {}, b"", None, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            *("POST", FORM, b"Param1=value1", None, "content-type;host;x-amz-date"),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            *("POST", {}, b"", TOKEN, "host;x-amz-date;x-amz-security-token"),
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        ),
        (
            *("GET", {"My-Header1": " value1", "My-Header2": ' "a   b   c"'}, b"", None),
            *(
                "host;my-header1;my-header2;x-amz-date",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
        ),
    ],
    ids=[
        "get-vanilla",
        "post-vanilla",
        "post-x-www-form-urlencoded",
        "post-sts-header-before",
        "get-header-value-trim",
    ],
)
def test_requests_are_signed_as_aws_says(
    method: str, more: dict[str, str], body: bytes, token: str | None, signed: str, signature: str
) -> None:
    headers = AwsSigner("us-east-1", "service").headers(
        method,
        "/",
        {"Host": "example.amazonaws.com", **more},
        body,
        credentials=AwsCredentials(*KEYS, token),
        at=datetime(2015, 8, 30, 12, 36, tzinfo=UTC),
    )
    credential = "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
    assert headers["Authorization"] == (f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={signed}, Signature={signature}")


def test_a_secret_is_not_shown() -> None:
    assert "wJalr" not in repr(AwsCredentials(*KEYS))
