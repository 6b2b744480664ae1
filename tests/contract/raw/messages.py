"""Makes conversations from a seed: requests whose bounds are certain, however odd, and then one that has none.

A server must answer each of the first kind, in order, and must not take a part of one for another request. Each has a
request in its body that would pause a queue. Of the last it may think what it likes, if it does no harm.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

LETTER = json.dumps({"to": "ada@example.com", "name": "Ada"}).encode()
SMUGGLED = b"POST /v1/queues/default/pause HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
"""What must never happen: it is nowhere but in bodies and trailers."""

UPGRADES = [
    b"",
    b"",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"connection: keep-alive, upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Upgrade: h2c\r\n",
]
ODD_HEADERS = [
    b"X-A: " + b"a" * 4_000 + b"\r\n",
    b"X-Empty:\r\n",
    b"X-Length: Content-Length: 5\r\n",
    b"Content-Length-: 5\r\n",
    b"X-Latin: \xe4\xf6\r\n",
    b"Transfer-Encodin: chunked\r\n",
    b"TE: trailers, deflate;q=0.5\r\n",
    b"Trailer: Content-Length, Authorization\r\n",
]
EXTENSIONS = [b"", b"", b";a", b";a=b", b';a="\\"b;c"', b";x=" + b"y" * 200]
TRAILERS = [
    b"",
    b"",
    b"X-T: 1\r\n",
    b"Authorization: Bearer x\r\n",
    b"Host: evil\r\n",
    b"X: " + SMUGGLED[:38] + b"\r\n",
]
BAD_TRAILERS = [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"no trailer\r\n", b" folded\r\n"]
ENDINGS = [
    SMUGGLED[:20],
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    b"GET /healthz HTTP/1.1\nHost: a\n\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n",
    b"GET /healthz\r\n",
    b"GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"CONNECT 127.0.0.1:6379 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://evil.example/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
]
POST = b"POST /v1/jobs/welcome_email HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
LENGTHS = [b"-1", b"+5", b"0x5", b"5, 5", b"5,6", b"5 5", b"", b"9" * 30, b"0" * 5_000, b"5;a", b"1e1", b"\xb2"]
CODINGS = [
    *(
        b"gzip, chunked",
        b"chunked, gzip",
        b"chunked, chunked",
        b"identity",
        b"xchunked",
        b"chunked;a=b",
        b"\x0bchunked",
    ),
    *(b"", b'"chunked"', b"chunk", b"CHUNKED , "),
]
SIZES = [b"-1", b"+5", b"0x5", b"5 5", b"g", b"", b"f" * 17, b"00000000000000000005" * 4_000, b"5\t", b" 5", b"5\n"]


@dataclass(frozen=True)
class Conversation:
    """What one client sends, in these pieces; `statuses` are those of the answers that it must get first."""

    pieces: list[bytes]
    statuses: list[int]
    ends_well: bool
    """False if something follows for which a server may end the connection before it has answered all."""


def conversation(chance: random.Random) -> Conversation:
    """Some certain requests, pipelined, then mostly an uncertain end; cut anywhere."""
    requests = [_certain(chance) for _ in range(chance.randrange(5))]
    end = chance.choice([_no_end, _bad_ending, _bad_length, _bad_coding, _bad_chunk, _bad_trailer, _both_framings])(
        chance
    )
    text = b"".join(request for request, _ in requests) + end
    cuts = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(5)))
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return Conversation(pieces, [status for _, status in requests], ends_well=not end)


def _certain(chance: random.Random) -> tuple[bytes, int]:
    kind: Callable[[random.Random], tuple[bytes, int]] = chance.choice([_get, _with_length, _in_chunks])
    return kind(chance)


def _extra(chance: random.Random) -> bytes:
    return chance.choice(UPGRADES) + b"".join(chance.choices(ODD_HEADERS, k=chance.randrange(3)))


def _get(chance: random.Random) -> tuple[bytes, int]:
    path, status = chance.choice([(b"/healthz", 200), (b"/nowhere", 404)])
    return b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\n" % (path, _extra(chance)), status


def _content(chance: random.Random) -> tuple[bytes, int]:
    return chance.choice([(LETTER, 202), (SMUGGLED, 422), (SMUGGLED * 50, 422), (LETTER + SMUGGLED, 422), (b"", 422)])


def _with_length(chance: random.Random) -> tuple[bytes, int]:
    content, status = _content(chance)
    digits = b"0" * chance.choice([0, 0, 0, 5]) + b"%d" % len(content)
    return POST + _extra(chance) + b"Content-Length: %b\r\n\r\n%b" % (digits, content), status


def _in_chunks(chance: random.Random) -> tuple[bytes, int]:
    content, status = _content(chance)
    coding = chance.choice([b"chunked", b"Chunked", b"  chunked"])
    head = POST + _extra(chance) + b"Transfer-Encoding: %b\r\n\r\n" % coding
    return head + chunked(chance, content) + b"0\r\n" + chance.choice(TRAILERS) + b"\r\n", status


def chunked(chance: random.Random, content: bytes) -> bytes:
    """The content in chunks of any size, without the last one."""
    chunks = []
    while content:
        size = chance.choice([1, 2, 7, len(content), len(content)])
        chunk, content = content[:size], content[size:]
        digits = b"0" * chance.choice([0, 0, 3]) + (b"%x" if chance.random() < 0.5 else b"%X") % len(chunk)
        chunks.append(digits + chance.choice(EXTENSIONS) + b"\r\n" + chunk + b"\r\n")
    return b"".join(chunks)


def _no_end(chance: random.Random) -> bytes:
    return b""


def _bad_ending(chance: random.Random) -> bytes:
    return chance.choice(ENDINGS)


def _bad_length(chance: random.Random) -> bytes:
    return POST + b"Content-Length: %b\r\n\r\n%b" % (chance.choice(LENGTHS), b"{}")


def _bad_coding(chance: random.Random) -> bytes:
    return POST + b"Transfer-Encoding: %b\r\n\r\n0\r\n\r\n" % chance.choice(CODINGS)


def _bad_chunk(chance: random.Random) -> bytes:
    return POST + b"Transfer-Encoding: chunked\r\n\r\n%b\r\n{}\r\n0\r\n\r\n" % chance.choice(SIZES)


def _bad_trailer(chance: random.Random) -> bytes:
    return POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n%b\r\n" % chance.choice(BAD_TRAILERS)


def _both_framings(chance: random.Random) -> bytes:
    """The smuggler's pair: one program goes by the length, another by the chunks."""
    framings = [b"Content-Length: %d\r\n" % len(SMUGGLED), b"Transfer-Encoding: chunked\r\n"]
    chance.shuffle(framings)
    return POST + b"".join(framings) + b"\r\n0\r\n\r\n" + SMUGGLED
