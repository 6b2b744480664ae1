"""A mail server's URL, and what stands between a connection and its first letter: TLS, a login, a name."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from errand.mail.smtp import SmtpPool, Timeouts
from errand.mail.smtp.server import SmtpServer, Tls
from errand.mail.verdict import SenderRefused, Unavailable
from tests.mail.letters import letter
from tests.mail.raw_server import RawServer

OFFERS_TLS = {b"EHLO": b"250-raw\r\n250 STARTTLS"}


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "tls"),
    [
        ("smtp://mail.example", "mail.example", 25, None, Tls.OPPORTUNISTIC),
        ("smtp://mail.example:2525?starttls=required", "mail.example", 2525, None, Tls.STARTTLS),
        ("smtp://mail.example?tls=starttls", "mail.example", 25, None, Tls.STARTTLS),
        ("smtp://mail.example?starttls=never", "mail.example", 25, None, Tls.NONE),
        ("smtp://mail.example?tls=none", "mail.example", 25, None, Tls.NONE),
        ("smtp://ada:pw@mail.example", "mail.example", 587, ("ada", "pw"), Tls.STARTTLS),
        ("smtp://ada:pw@mail.example?starttls=auto", "mail.example", 587, ("ada", "pw"), Tls.OPPORTUNISTIC),
        ("smtp://ada:pw@127.0.0.1", "127.0.0.1", 587, ("ada", "pw"), Tls.OPPORTUNISTIC),
        ("smtp://a%40b:p%2Fw%3A@[::1]:25", "::1", 25, ("a@b", "p/w:"), Tls.OPPORTUNISTIC),
        ("smtps://mail.example", "mail.example", 465, None, Tls.IMPLICIT),
        ("smtps://ada:pw@mail.example:4650?tls=implicit", "mail.example", 4650, ("ada", "pw"), Tls.IMPLICIT),
    ],
)
def test_a_password_travels_to_another_machine_only_under_tls(
    url: str, host: str, port: int, user: tuple[str, str] | None, tls: Tls
) -> None:
    server = SmtpServer.parse(url)
    assert (server.host, server.port, server.tls) == (host, port, tls)
    assert (server.login and (server.login.username, server.login.password)) == user


@pytest.mark.parametrize(
    "url",
    [
        *(f"smtp://ada:s3{char}cr3t@mail.example" for char in "/?#℀"),
        *(f"smtp://ada:25{char}cr3t@mail.example" for char in "/?#"),
        "smtp://ada:s3cr3t@mail.example:port",
        "smtp://ada:s3cr3t@mail.example?starttls=maybe",
        "smtp://ada:s3cr3t@mail.example?startls=required",
        "smtp://ada:s3cr3t@mail.example?tls=maybe",
        "smtp://ada:s3cr3t@mail.example?tls=none&starttls=never",
        "smtps://ada:s3cr3t@mail.example?tls=none",
        "smtp://ada:s3cr3t@mail.example?auth=cram",
        "smtp://mail.example?auth=plain",
        "smtp://ada:s3cr3t@mail.example?ca_file=/dev/null",
    ],
)
def test_an_unreadable_url_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="SMTP_URL") as refused:
        SmtpServer.parse(url)
    assert "s3" not in str(refused.value) and "cr3t" not in str(refused.value)


def test_a_server_does_not_show_its_password() -> None:
    assert "s3cr3t" not in repr(SmtpServer.parse("smtp://ada:s3cr3t@mail.example"))


# --- TLS

Context = Callable[[str], ssl.SSLContext]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    ca, path = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return ca, path


@pytest.fixture(scope="module")
def certified(authority: tuple[trustme.CA, Path]) -> Context:
    def of(name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority[0].issue_cert(name).configure_cert(context)
        return context

    return of


async def send(url: str, *, name: str | None = None) -> str:
    async with SmtpPool.open(url, name=name, timeouts=Timeouts(connect_s=5, leave_s=0.1)) as pool:
        return await pool.send(letter())


@pytest.mark.parametrize(("scheme", "mode"), [("smtps", "implicit"), ("smtp", "starttls"), ("smtp", "opportunistic")])
async def test_letters_travel_under_tls(
    authority: tuple[trustme.CA, Path], certified: Context, scheme: str, mode: str
) -> None:
    tls = certified("127.0.0.1")
    async with RawServer.serving(OFFERS_TLS, tls, implicit_tls=scheme == "smtps") as raw:
        await send(f"{scheme}://{raw.url}?tls={mode}&ca_file={authority[1]}")
        assert raw.connections[0].get_extra_info("ssl_object") is not None or b"STARTTLS" in raw.commands
        hellos = [line.split()[0] for line in raw.commands].count(b"EHLO")
        assert (hellos, len(raw.letters)) == (1 if scheme == "smtps" else 2, 1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("127.0.0.1", "tls=starttls"),  # of an authority that is not trusted
        ("mail.example", "tls=starttls&ca_file={ca}"),  # another host's
    ],
)
async def test_a_certificate_that_proves_nothing_is_refused(
    authority: tuple[trustme.CA, Path], certified: Context, name: str, options: str
) -> None:
    async with RawServer.serving(OFFERS_TLS, certified(name)) as raw:
        with pytest.raises(Unavailable, match="certificate"):
            await send(f"smtp://{raw.url}?{options.format(ca=authority[1])}")
        assert raw.letters == []
        await send(f"smtp://{raw.url}?tls=opportunistic")
        assert len(raw.letters) == 1


async def test_starttls_that_is_stripped_sends_nothing() -> None:
    async with RawServer.serving() as raw:
        with pytest.raises(Unavailable, match="STARTTLS"):
            await send(f"smtp://{raw.url}?tls=starttls")
    assert raw.letters == []


@pytest.mark.parametrize("reply", [b"454 4.7.0 not now", b"502 no", b"220 go on\r\n250 injected"])
async def test_once_offered_tls_is_never_given_up_for_plain_text(certified: Context, reply: bytes) -> None:
    async with RawServer.serving(OFFERS_TLS, STARTTLS=[reply]) as raw:
        with pytest.raises(Unavailable):
            await send(f"smtp://{raw.url}?tls=opportunistic")
    assert raw.letters == [] and b"MAIL" not in b"".join(raw.commands)


# --- the login and the name


def encoded(text: str) -> bytes:
    return b64encode(text.encode())


async def test_plain_is_preferred_and_login_is_spoken_too() -> None:
    for offered, expected in (
        ("PLAIN LOGIN", [b"AUTH PLAIN " + encoded("\0ada\0pä")]),
        ("LOGIN", [b"AUTH LOGIN", encoded("ada"), encoded("pä")]),
        ("XOAUTH2", [b"AUTH XOAUTH2 " + encoded("user=ada\x01auth=Bearer pä\x01\x01")]),
    ):
        challenges = [b"334 x"] if offered == "LOGIN" else [b"235 in"]
        script = {
            "AUTH": challenges,
            encoded("ada").upper().decode(): [b"334 x"],
            encoded("pä").upper().decode(): [b"235 in"],
        }
        always = {b"EHLO": f"250-raw\r\n250 AUTH {offered}".encode()}
        async with RawServer.serving(always, script=script) as raw:
            await send(f"smtp://ada:p%C3%A4@{raw.url}{'?auth=xoauth2' if offered == 'XOAUTH2' else ''}")
            assert raw.commands[1 : 1 + len(expected)] == expected


async def test_a_refused_login_waits_for_the_right_password_and_does_not_show_the_wrong_one(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cr3t\n")
    always = {b"EHLO": b"250-raw\r\n250 AUTH PLAIN"}
    async with RawServer.serving(always, AUTH=[b"535 5.7.8 no", b"235 in"]) as raw:
        with pytest.raises(SenderRefused, match=r"535 5\.7\.8 no") as refused:
            await send(f"smtp://ada@{raw.url}?password_file={file}")
        file.write_text("n3w")
        await send(f"smtp://ada@{raw.url}?password_file={file}")
        assert encoded("\0ada\0n3w") in raw.commands[-6].split() + raw.commands[-5].split()
    async with RawServer.serving() as raw:
        with pytest.raises(SenderRefused, match="AUTH") as unsupported:
            await send(f"smtp://ada:s3cr3t@{raw.url}")
    assert "s3cr3t" not in f"{refused.value} {unsupported.value}"


@pytest.mark.parametrize("reply", ["500 Command unrecognized: {}", "what is {}?"])
async def test_a_server_that_repeats_the_login_does_not_have_the_password_shown(reply: str) -> None:
    login = encoded("\0ada\0s3cr3t").decode()
    always = {b"EHLO": b"250-raw\r\n250 AUTH PLAIN", b"AUTH": reply.format(login).encode()}
    async with RawServer.serving(always) as raw:
        with pytest.raises(Unavailable, match=r"\*{10}") as refused:
            await send(f"smtp://ada:s3cr3t@{raw.url}")
    assert login not in str(refused.value)


async def test_a_server_is_greeted_with_the_name_that_is_set_or_one_that_means_this_host() -> None:
    async with RawServer.serving() as raw:
        await send(f"smtp://{raw.url}", name="mail.acme.example")
        await send(f"smtp://{raw.url}?source=127.0.0.1")
    hellos = [line.decode() for line in raw.commands if line.startswith(b"EHLO")]
    assert hellos[0] == "EHLO mail.acme.example"
    assert "." in hellos[1] and "localhost" not in hellos[1]
