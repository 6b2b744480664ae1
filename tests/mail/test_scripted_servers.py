"""Servers that hang up, fall silent, lie or talk nonsense at each step: what becomes of a letter, how many arrive."""

from __future__ import annotations

import pytest

from errand.mail.smtp import SmtpPool, Timeouts
from errand.mail.smtp.reply import MAX_LINES, readable
from errand.mail.verdict import Kind, Refusal
from tests.mail.letters import letter
from tests.mail.raw_server import HANGS_UP, MUTE, RawServer

T, A, S, U = Kind.TRANSIENT, Kind.ADDRESS, Kind.SENDER, Kind.UNSURE

QUICK = Timeouts(connect_s=5, kept_s=0.05, leave_s=0.05, command_s=0.05, data_s=0.05, block_s=5, final_s=0.05)
PATIENT = Timeouts(connect_s=60, kept_s=60, leave_s=0.05, command_s=60, data_s=60, block_s=60, final_s=60)
"""For servers that answer, on a machine that may be busy."""

STEPS = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT")

FAULTS: dict[str, tuple[bytes, str]] = {
    # what is said, and the kind at each of the steps
    "hangs up": (HANGS_UP, "TTTTTU"),
    "silence": (MUTE, "TTTTTU"),
    "an empty line": (b"", "TTTTTU"),
    "no code": (b"OK", "TTTTTU"),
    "a code of two digits": (b"25 OK", "TTTTTU"),
    "a code with a sign": (b"+50 OK", "TTTTTU"),
    "199": (b"199 hm", "TTTTTU"),
    "300": (b"300 hm", "TTTTTU"),
    "600": (b"600 hm", "TTTTTU"),
    "334": (b"334 AAAA", "TTTTTU"),
    "two codes": (b"250-yes\r\n550 no", "TTTTTU"),
    "a line of 20,000 characters": (b"250 " + b"x" * 20_000, "TTTTTU"),
    "more lines than anybody says": (b"\r\n".join([b"250-x"] * 200 + [b"250 x"]), "TTTTTU"),
    "half a reply, then silence": (b"250-first", "TTTTTU"),
    "NUL bytes": (b"\0\0\0\0", "TTTTTU"),
    "421": (b"421 4.3.2 closing", "TTTTTT"),
    "451 with an enhanced code": (b"451 4.7.1 greylisted", "TTTTTT"),
    "450": (b"450 busy", "TTTTTT"),
    "500": (b"500 what?", "SSSSSS"),
    "554 5.7.1": (b"554 5.7.1 no", "SSSSSS"),
    "550 5.1.1": (b"550 5.1.1 nobody", "SSSAAA"),
    "550": (b"550 nobody", "SSSASS"),
    "535": (b"535 5.7.8 no", "SSSSSS"),
}

SILENT = {"silence", "half a reply, then silence", "NUL bytes"}

CASES = [
    (step, fault, Kind({"T": T, "A": A, "S": S, "U": U}[kinds[number]]))
    for fault, (_, kinds) in FAULTS.items()
    for number, step in enumerate(STEPS)
]


@pytest.mark.parametrize(("step", "fault", "kind"), CASES, ids=[f"{step}-{fault}" for step, fault, _ in CASES])
async def test_a_fault_is_sorted_by_the_step_at_which_it_comes(step: str, fault: str, kind: Kind) -> None:
    said = FAULTS[fault][0]
    replies = {step: [said], **({"HELO": [said]} if step == "EHLO" else {})}
    async with RawServer.serving(script=replies) as raw:
        timeouts = QUICK if fault in SILENT else PATIENT
        async with SmtpPool.open(f"smtp://{raw.url}", timeouts=timeouts) as pool:
            with pytest.raises(Refusal) as refused:
                await pool.send(letter())
    assert refused.value.kind is kind, refused.value
    assert len(raw.letters) == (1 if step == "DOT" else 0)
    assert (len(str(refused.value)) < 1200 and str(refused.value).isprintable()) or "\n" in str(refused.value)


@pytest.mark.parametrize("reply", [b"250", b"250 \xff\xfe", b"250-a\r\n250 b", b"200 fine", b"251 forwarded"])
async def test_any_2yz_to_the_message_is_a_yes(reply: bytes) -> None:
    async with RawServer.serving(DOT=[reply]) as raw, SmtpPool.open(f"smtp://{raw.url}", timeouts=PATIENT) as pool:
        assert (await pool.send(letter())).startswith(reply[:3].decode())


async def test_a_connection_lost_before_the_final_dot_is_a_clear_no() -> None:
    large = letter()
    content = large.content + b"x\r\n" * 2_000_000
    async with RawServer.serving(HEADERS=[HANGS_UP]) as raw, SmtpPool.open(f"smtp://{raw.url}") as pool:
        with pytest.raises(Refusal) as refused:
            await pool.send(type(large)(large.sender, large.recipients, large.message_id, content, False))
    assert refused.value.kind is T


async def test_a_server_without_ehlo_is_greeted_with_helo() -> None:
    async with RawServer.serving(EHLO=[b"502 unknown"]) as raw, SmtpPool.open(f"smtp://{raw.url}") as pool:
        await pool.send(letter())
    assert [line.split()[0] for line in raw.commands[:3]] == [b"EHLO", b"HELO", b"MAIL"]


async def test_what_is_said_unasked_on_a_kept_connection_is_no_reply() -> None:
    async with RawServer.serving(DOT=[b"250 OK\r\n250 and more"]) as raw:
        async with SmtpPool.open(f"smtp://{raw.url}") as pool:
            for _ in range(2):
                await pool.send(letter())
    assert (len(raw.letters), len(raw.connections)) == (2, 2)


async def test_a_line_end_of_another_kind_cannot_end_a_message() -> None:
    """SMTP smuggling: `\\n.\\n` ends a message for some servers."""
    plain = letter()
    smuggling = type(plain)(plain.sender, plain.recipients, "", b"S: x\r\n\r\na\n.\r\nMAIL FROM:<e@x>\r.\n", False)
    async with RawServer.serving() as raw, SmtpPool.open(f"smtp://{raw.url}") as pool:
        await pool.send(smuggling)
    assert raw.letters == [b"S: x\r\n\r\na\r\n..\r\nMAIL FROM:<e@x>\r\n..\r\n.\r\n"]


async def test_each_line_of_a_reply_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply of 128 long lines whose lines were read anew with each held up the event loop for half a second."""
    read: list[bytes] = []

    def counting(text: bytes) -> str:
        read.append(text)
        return readable(text)

    monkeypatch.setattr("errand.mail.smtp.reply.readable", counting)
    long = b"\r\n".join([b"250-" + b"\x80" * 1000] * (MAX_LINES - 1) + [b"250 end"])
    async with RawServer.serving(EHLO=[long]) as raw, SmtpPool.open(f"smtp://{raw.url}") as pool:
        await pool.send(letter())
        assert len(raw.letters) == 1
    assert len(read) < 2 * MAX_LINES
