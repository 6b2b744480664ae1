"""What a refusal means: try later, the address is bad, the sender is at fault, or nobody knows whether it was sent.

Codes: RFC 5321 §4.2, RFC 3463 and the IANA registry "SMTP Enhanced Status Codes". Which of them speak of the address
was decided one by one; the table below says so and why.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from errand.mail.smtp.reply import SmtpReply


class Stage(IntEnum):
    """How far the conversation had come, in its order."""

    CONNECT = 0
    HELLO = 1
    TLS = 2
    LOGIN = 3
    MAIL = 4
    RCPT = 5
    DATA = 6
    """DATA was sent, and none of the message."""
    CONTENT = 7
    """The final dot was sent."""


class Kind(StrEnum):
    """What becomes of the letter."""

    TRANSIENT = "transient"
    """The same letter may be taken later."""
    ADDRESS = "address"
    """This address takes no mail, now or ever."""
    SENDER = "sender"
    """The sender's own setup is refused: its login, its domain's reputation, the form of its message.

    Somebody must see to it, and then the letter can go: it is kept and tried again.
    """
    UNSURE = "unsure"
    """Nobody knows whether it was taken (RFC 1047)."""


class Refusal(Exception):
    """A letter was not sent, or nobody knows whether it was."""

    kind = Kind.TRANSIENT

    def __init__(self, message: str, *, stage: Stage, reply: SmtpReply | None = None) -> None:
        super().__init__(message)
        self.stage = stage
        self.reply = reply
        self.recipient: str | None = None
        """The one that it is about, if it is about one."""

    @property
    def suppresses(self) -> str | None:
        """The recipient, if the server says by an enhanced code that this address takes no mail."""
        said_clearly = self.reply is not None and self.reply.enhanced is not None
        return self.recipient if self.kind is Kind.ADDRESS and said_clearly else None


class Unavailable(Refusal):
    """It may be taken later: a 4yz reply, or a fault of the connection before the final dot."""


class SenderRefused(Unavailable):
    """The sender is at fault; once somebody has seen to it, the letter may be taken."""

    kind = Kind.SENDER


class Rejected(Refusal):
    """It will never be taken. `kind` says whether the address is to blame."""

    kind = Kind.ADDRESS


class NotSupported(Rejected):
    """The mail server lacks what this letter needs; the address may be good, and another server may have it."""

    kind = Kind.SENDER


class TooLarge(SenderRefused):
    """The mail server takes no letters of this size; another one may."""


class Unsure(Refusal):
    """The final dot was sent, and no clear reply came: nobody knows whether the letter was taken (RFC 1047)."""

    kind = Kind.UNSURE


ERRORS = {Kind.TRANSIENT: Unavailable, Kind.ADDRESS: Rejected, Kind.SENDER: SenderRefused, Kind.UNSURE: Unsure}


ENHANCED = {
    "0.0": None,  # "other undefined status": the reply code decides
    "1.0": Kind.ADDRESS,  # other address status
    "1.1": Kind.ADDRESS,  # bad destination mailbox address
    "1.2": Kind.ADDRESS,  # bad destination system address: no such domain
    "1.3": Kind.ADDRESS,  # bad destination mailbox address syntax
    "1.4": Kind.ADDRESS,  # ambiguous address
    "1.5": None,  # "address valid", on success alone
    "1.6": Kind.ADDRESS,  # mailbox has moved, no forwarding address
    "1.7": Kind.SENDER,  # bad sender's mailbox address syntax
    "1.8": Kind.SENDER,  # bad sender's system address
    "1.9": Kind.TRANSIENT,  # relayed to a mailer that gives no further reports
    "1.10": Kind.ADDRESS,  # the domain has a null MX: it takes no mail (RFC 7505)
    "2.0": Kind.TRANSIENT,  # other mailbox status
    "2.1": Kind.ADDRESS,  # mailbox disabled, not accepting messages
    "2.2": Kind.TRANSIENT,  # mailbox full: its owner may make room
    "2.3": Kind.SENDER,  # message too long for this mailbox
    "2.4": Kind.TRANSIENT,  # mailing list expansion
    "3.0": Kind.TRANSIENT,  # other mail system status
    "3.1": Kind.TRANSIENT,  # mail system full
    "3.2": Kind.TRANSIENT,  # system not accepting network messages
    "3.3": Kind.SENDER,  # system not capable of selected features
    "3.4": Kind.SENDER,  # message too big for system
    "3.5": Kind.TRANSIENT,  # system incorrectly configured: theirs
    "3.6": Kind.TRANSIENT,  # requested priority was changed (RFC 6710)
    "4.0": Kind.TRANSIENT,  # network and routing: of the way, not of the address
    "4.1": Kind.TRANSIENT,  # no answer from host
    "4.2": Kind.TRANSIENT,  # bad connection
    "4.3": Kind.TRANSIENT,  # directory server failure
    "4.4": Kind.TRANSIENT,  # unable to route
    "4.5": Kind.TRANSIENT,  # mail system congestion
    "4.6": Kind.TRANSIENT,  # routing loop detected
    "4.7": Kind.TRANSIENT,  # delivery time expired
    "5.0": Kind.SENDER,  # the protocol: what we said
    "5.1": Kind.SENDER,  # invalid command
    "5.2": Kind.SENDER,  # syntax error
    "5.3": Kind.SENDER,  # too many recipients
    "5.4": Kind.SENDER,  # invalid command arguments
    "5.5": Kind.SENDER,  # wrong protocol version
    "5.6": Kind.SENDER,  # authentication exchange line is too long (RFC 4954)
    "6.0": Kind.SENDER,  # the content or its form
    "6.1": Kind.SENDER,  # media not supported
    "6.2": Kind.SENDER,  # conversion required and prohibited
    "6.3": Kind.SENDER,  # conversion required but not supported
    "6.4": Kind.SENDER,  # conversion with loss performed
    "6.5": Kind.SENDER,  # conversion failed
    "6.6": Kind.SENDER,  # message content not available (RFC 4468)
    "6.7": Kind.SENDER,  # non-ASCII addresses not permitted (RFC 6531)
    "6.8": Kind.SENDER,  # a UTF-8 string reply is required (RFC 6531)
    "6.9": Kind.SENDER,  # UTF-8 header message cannot be transferred (RFC 6531)
    "6.10": Kind.SENDER,  # the same, withdrawn
    "7.0": Kind.SENDER,  # security or policy: who we are, what we send
    "7.1": Kind.SENDER,  # delivery not authorized, message refused
    "7.2": Kind.SENDER,  # mailing list expansion prohibited
    "7.3": Kind.SENDER,  # security conversion required
    "7.4": Kind.SENDER,  # security features not supported
    "7.5": Kind.SENDER,  # cryptographic failure
    "7.6": Kind.SENDER,  # cryptographic algorithm not supported
    "7.7": Kind.SENDER,  # message integrity failure
    "7.8": Kind.SENDER,  # authentication credentials invalid (RFC 4954)
    "7.9": Kind.SENDER,  # authentication mechanism is too weak
    "7.10": Kind.SENDER,  # encryption needed (RFC 5248)
    "7.11": Kind.SENDER,  # encryption required for this mechanism
    "7.12": Kind.SENDER,  # a password transition is needed
    "7.13": Kind.SENDER,  # user account disabled: the one that logs in
    "7.14": Kind.SENDER,  # trust relationship required
    "7.15": Kind.SENDER,  # priority level is too low (RFC 6710)
    "7.16": Kind.SENDER,  # message is too big for its priority
    "7.17": Kind.ADDRESS,  # mailbox owner has changed (RFC 7293)
    "7.18": Kind.ADDRESS,  # domain owner has changed (RFC 7293)
    "7.19": Kind.SENDER,  # RRVS test cannot be completed
    "7.20": Kind.SENDER,  # no passing DKIM signature found (RFC 7372)
    "7.21": Kind.SENDER,  # no acceptable DKIM signature found
    "7.22": Kind.SENDER,  # no valid author-matched DKIM signature
    "7.23": Kind.SENDER,  # SPF validation failed
    "7.24": Kind.SENDER,  # SPF validation error
    "7.25": Kind.SENDER,  # reverse DNS validation failed
    "7.26": Kind.SENDER,  # multiple authentication checks failed
    "7.27": Kind.SENDER,  # sender address has a null MX (RFC 7505)
    "7.28": Kind.SENDER,  # mail flood detected
    "7.29": Kind.SENDER,  # ARC validation failure (RFC 8617)
    "7.30": Kind.SENDER,  # REQUIRETLS support required (RFC 8689)
}
"""What `5.X.Y` means from RCPT on. An entry of None and a detail that is not here leave it to the reply code."""


ADDRESS_CODES = frozenset({550, 551, 553, 556})
"""What RCPT answers of the mailbox, if no enhanced code says more (RFC 5321 §4.2.2, RFC 7504)."""


NOT_THE_ADDRESS = re.compile(
    r"frequen|rate.?limit|too (many|fast)|limit(ed|s)? (exceeded|reached)|try again|tempor|later|block|black ?list|"
    r"spam|reputation|policy|authenti|relay|not (permitted|allowed|authori[sz]ed)|denied|"
    r"\bSPF\b|\bDKIM\b|\bDMARC\b|\bPTR\b|reverse|\bTLS\b",
    re.IGNORECASE,
)
"""Words by which servers without enhanced codes say that they mean the sender ("550 Connection frequency limited")."""


TOO_MUCH_FOR_THE_SERVER = frozenset({"5.2.3", "5.3.3", "5.3.4", "5.6.7", "5.6.9", "5.7.16"})
"""Of one letter, not of who sends it: its size, or an address beyond ASCII, are more than this server takes."""


def is_too_much(error: Refusal) -> bool:
    """The server cannot carry this letter, and carries others: its size, or what its address needs (RFC 6531)."""
    if isinstance(error, NotSupported | TooLarge):
        return True
    reply = error.reply if error.stage is Stage.MAIL else None
    return reply is not None and (reply.code == 552 or reply.enhanced in TOO_MUCH_FOR_THE_SERVER)


def kind_of(reply: SmtpReply | None, stage: Stage) -> Kind:
    """What that reply means at that stage; None: no reply that can be understood came.

    After the final dot only 4yz and 5yz are a clear no (RFC 1047). What a server says before it has heard of the
    recipient cannot be the recipient's fault: even a 5yz is the sender's there, who may change a password meanwhile.
    """
    if reply is None or not 400 <= reply.code <= 599:
        return Kind.UNSURE if stage is Stage.CONTENT else Kind.TRANSIENT
    if reply.code < 500:
        return Kind.TRANSIENT
    if stage < Stage.RCPT:
        return Kind.SENDER
    said = reply.enhanced
    if said is not None and said.startswith("5.") and (meant := ENHANCED.get(said[2:])) is not None:
        return meant
    return _by_code_alone(reply, stage)


def _by_code_alone(reply: SmtpReply, stage: Stage) -> Kind:
    if stage is not Stage.RCPT:
        return Kind.SENDER
    if reply.code == 552:  # "exceeded storage allocation": full, as RFC 5321 §4.5.3.1.10 says of old servers
        return Kind.TRANSIENT
    speaks_of_address = reply.code in ADDRESS_CODES and not NOT_THE_ADDRESS.search(reply.text)
    return Kind.ADDRESS if speaks_of_address else Kind.SENDER


def refusal(reply: SmtpReply, stage: Stage) -> Refusal:
    """The error for a reply that is not the one hoped for."""
    return ERRORS[kind_of(reply, stage)](f"the mail server answered {reply}", stage=stage, reply=reply)


HINT = re.compile(
    r"(?:in|after|for|wait|within|delay(?:ed)?(?: of)?)\s+"
    r"(?:(?P<clock>\d{1,2}:\d\d(?::\d\d)?)|"
    # whole words: "for 100 messages" asks for no minutes
    r"(?P<number>\d{1,5})\s*(?P<unit>s|m|h)(?:ecs?|econds?|ins?|inutes?|rs?|ours?)?\b)",
    re.IGNORECASE,
)


UNIT_S = {"s": 1, "m": 60, "h": 3600}


HINT_CAP_S = 4 * 3600.0
"""A server may not put a letter off for longer than this at a time."""


def asked_wait_s(reply: SmtpReply | None) -> float | None:
    """How long a 4yz reply asks to wait, as greylisting does: "in 300 seconds", "in 5 minutes", "in 00:05:00".

    A second is added: those who come a moment too soon are sent away again.
    """
    if reply is None or not 400 <= reply.code < 500 or (found := HINT.search(reply.text)) is None:
        return None
    if found["clock"]:
        parts = [int(part) for part in found["clock"].split(":")]
        hours, minutes, seconds = parts if len(parts) == 3 else [0, *parts]
        wait_s = hours * 3600 + minutes * 60 + seconds
    else:
        wait_s = int(found["number"]) * UNIT_S[found["unit"].lower()]
    return min(wait_s + 1.0, HINT_CAP_S)
