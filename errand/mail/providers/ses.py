"""Amazon SES, by its API v2: the letter travels as it is, DKIM signature included."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from errand.job.clock import Clock
from errand.mail.letter import Letter
from errand.mail.providers.answers import kind_of_status, provider_refusal, refuse_beyond_ascii
from errand.mail.providers.aws_signature import AwsCredentials, AwsSigner
from errand.mail.providers.http_api import ApiAnswer, HttpApi, origin_of
from errand.mail.providers.provider_url import options_of
from errand.mail.verdict import Kind, SenderRefused, Stage

PATH = "/v2/email/outbound-emails"


JOB_TAG = "job-id"
"""Its events have this tag: SES gives a letter a Message-ID of its own."""


TAG_VALUE = r"[A-Za-z0-9_-]{1,256}"


ERRORS: Mapping[str, tuple[Kind, bool]] = {
    # error of the API → its kind, and whether it is about who sends, or about this letter
    "TooManyRequestsException": (Kind.TRANSIENT, True),
    "ThrottlingException": (Kind.TRANSIENT, True),
    "Throttling": (Kind.TRANSIENT, True),
    "LimitExceededException": (Kind.TRANSIENT, True),
    "RequestExpired": (Kind.TRANSIENT, True),
    "AccountSuspendedException": (Kind.SENDER, True),
    "SendingPausedException": (Kind.SENDER, True),
    "MailFromDomainNotVerifiedException": (Kind.SENDER, True),
    "NotFoundException": (Kind.SENDER, True),  # the configuration set
    "AccessDeniedException": (Kind.SENDER, True),
    "ExpiredTokenException": (Kind.SENDER, True),
    "IncompleteSignature": (Kind.SENDER, True),
    "InvalidClientTokenId": (Kind.SENDER, True),
    "InvalidSignatureException": (Kind.SENDER, True),
    "SignatureDoesNotMatch": (Kind.SENDER, True),
    "UnrecognizedClientException": (Kind.SENDER, True),
    "MessageRejected": (Kind.SENDER, False),  # a virus in it, or an address that a sandbox has not verified
    "BadRequestException": (Kind.SENDER, False),
}
"""Of SendEmail and of every API of AWS ("Common errors"). What is not here goes by its status."""


NOT_READABLE = (
    "SMTP_URL: must be ses://ACCESS_KEY:SECRET_KEY@REGION or ses://REGION?credentials_file=FILE, "
    "with / + = in the key as %2F %2B %3D; further options: configuration_set, endpoint"
)


@dataclass(frozen=True, slots=True)
class SesAccount:
    """`ses://ACCESS_KEY:SECRET_KEY@REGION`, with the options `configuration_set`, `endpoint`, `credentials_file`."""

    region: str
    credentials: AwsCredentials | None = field(repr=False)
    credentials_file: Path | None
    """Read for each letter, so that keys that end are changed without a restart; as `aws configure
    export-credentials` writes it."""
    configuration_set: str | None
    origin: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ValueError."""
        parts = urlsplit(url)
        options = options_of(parts, {"configuration_set", "endpoint", "credentials_file"}, NOT_READABLE)
        region, file = parts.hostname or "", options.get("credentials_file")
        if not re.fullmatch(r"[a-z]{2,3}(-[a-z]+)+-\d", region) or bool(parts.username) == bool(file):
            raise ValueError(NOT_READABLE)
        if parts.username and not parts.password:
            raise ValueError(NOT_READABLE)
        endpoint = urlsplit(options.get("endpoint", f"https://email.{region}.amazonaws.com"))
        if not endpoint.hostname:
            raise ValueError(NOT_READABLE)
        known = parts.username and AwsCredentials(unquote(parts.username), unquote(parts.password or ""))
        return cls(
            region=region,
            credentials=known or None,
            credentials_file=Path(file) if file else None,
            configuration_set=options.get("configuration_set"),
            origin=origin_of(endpoint.hostname, endpoint.port),
        )

    async def current_credentials(self) -> AwsCredentials:
        """Raises SenderRefused if the file cannot be read."""
        if self.credentials is not None:
            return self.credentials
        assert self.credentials_file is not None
        try:
            kept = json.loads(await asyncio.to_thread(self.credentials_file.read_text))
            return AwsCredentials(kept["AccessKeyId"], kept["SecretAccessKey"], kept.get("SessionToken"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"SMTP_URL: its credentials_file: {type(error).__name__}"
            raise SenderRefused(said, stage=Stage.LOGIN) from None


class SesSender:
    """Sends letters by one account in one region."""

    def __init__(self, account: SesAccount, api: HttpApi) -> None:
        self._account = account
        self._api = api
        self._signer = AwsSigner(account.region, "ses")

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, connections: int) -> AsyncIterator[SesSender]:
        """Raises ValueError for a URL that it cannot read."""
        account = SesAccount.parse(url)
        async with HttpApi.open(account.origin, connections=connections) as api:
            yield cls(account, api)

    async def send(
        self, letter: Letter, *, begin: Callable[[], Awaitable[None]] | None = None, clock: Clock | None = None
    ) -> str:
        """The id that SES gave it. Raises Refusal; see `errand.mail.relays.Transport`."""
        refuse_beyond_ascii(letter, "SES")
        async with (clock or Clock()).turn(self._api.free):
            credentials = await self._account.current_credentials()
            body = await asyncio.to_thread(self._body, letter)
            host = self._api.origin.partition("://")[2]
            headers = self._signer.headers(
                "POST",
                PATH,
                {"Host": host, "Content-Type": "application/json"},
                body,
                credentials=credentials,
                at=datetime.now(UTC),
            )
            if begin is not None:
                await begin()
            answer = await self._api.post(PATH, body, headers)
        if not 200 <= answer.status <= 299:
            raise _refusal(answer)
        return f"{answer.status} {answer.fields.get('MessageId', '')}".strip()

    def _body(self, letter: Letter) -> bytes:
        """SendEmail's, with the letter as it is. The envelope's recipients are named, whatever the headers say.

        `FromEmailAddress` is left out: it would take the place of the From header, and break DKIM's signature.
        """
        request: dict[str, Any] = {
            "Destination": {"ToAddresses": letter.recipients},
            "Content": {"Raw": {"Data": b64encode(letter.content).decode()}},
        }
        if letter.fields is not None and letter.sender != letter.fields.sender[1]:
            # SES has a return path of its own, and passes on what comes there
            request["FeedbackForwardingEmailAddress"] = letter.sender
        if re.fullmatch(TAG_VALUE, letter.job_id):
            request["EmailTags"] = [{"Name": JOB_TAG, "Value": letter.job_id}]
        if self._account.configuration_set:
            request["ConfigurationSetName"] = self._account.configuration_set
        return json.dumps(request).encode()


def _refusal(answer: ApiAnswer) -> Exception:
    """By the error's name, which stands in a header or in the body, with a URL behind it or a namespace in front."""
    given = answer.headers.get("x-amzn-errortype") or answer.fields.get("__type", "")
    name = str(given).partition(":")[0].rpartition("#")[2]
    said = str(answer.fields.get("message") or answer.fields.get("Message") or "")
    kind, about_sender = ERRORS.get(name, (kind_of_status(answer.status), answer.status in (401, 403, 429, 503)))
    return provider_refusal(kind, f"{answer.status} {name} {said}".strip(), about_sender=about_sender)
