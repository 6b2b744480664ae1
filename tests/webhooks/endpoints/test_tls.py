"""Certificates of an endpoint: its deliveries show one, and trust those that it names alone."""

from __future__ import annotations

import ssl
import time
import weakref
from typing import Any

import httpx
import pytest
import trustme
from arq.connections import ArqRedis
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from errand.webhooks.endpoints import tls
from errand.webhooks.endpoints.store import Endpoints
from errand.webhooks.endpoints.targets import target_of
from errand.webhooks.endpoints.tls import ClientCertificate, context_of
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.webhooks.endpoints.test_endpoints import PATH, ended, make, send
from tests.webhooks.post.hostile import LENGTH_5, receiving


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def certificate(authority: trustme.CA) -> dict[str, str]:
    issued = authority.issue_cert("errand.example")
    return {
        "certificate": issued.cert_chain_pems[0].bytes().decode(),
        "key": issued.private_key_pem.bytes().decode(),
    }


def asking(authority: trustme.CA) -> ssl.SSLContext:
    """A receiver that is known to the authority alone, and asks for a certificate of the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_receiver_that_asks_for_a_certificate_is_shown_the_endpoints_own(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, authority: trustme.CA
) -> None:
    shown = certificate(authority)
    async with receiving(LENGTH_5 + b"hello", ssl=asking(authority)) as receiver, run_worker([webhook]):
        both = await make(client, "both", receiver.url, ca=pem(authority), client_certificate=shown)
        await make(client, "no-certificate", receiver.url, ca=pem(authority), retry_s=[])
        await make(client, "no-trust", receiver.url, client_certificate=shown, retry_s=[])
        deliveries = (await send(client))["deliveries"]
        ends = {each["endpoint_id"]: (await ended(redis, each["job_id"])).status for each in deliveries}
    assert ends == {"both": "succeeded", "no-certificate": "failed", "no-trust": "failed"}
    assert receiver.requests == 1
    assert both["client_certificate"] == {**shown, "key": "**********"} and both["ca"] == pem(authority)


async def test_what_is_sent_back_as_it_was_shown_is_no_key(client: httpx.AsyncClient, authority: trustme.CA) -> None:
    shown = {**certificate(authority), "key": "**********"}
    answer = await client.put(f"{PATH}/one", json={"url": "https://acme.example/", "client_certificate": shown})
    assert answer.status_code == 422 and "**********" not in answer.text


def encrypted(key: str) -> str:
    """That key in PEM under a password."""
    private = load_pem_private_key(key.encode(), password=None)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")).decode()


def test_a_key_under_a_password_is_not_even_tried(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL makes as many rounds as the text says, a thousand seconds of them, before it finds that it cannot."""
    good, tried = certificate(authority), []
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", lambda *given, **options: tried.append(given))
    for fields in ((good["certificate"], encrypted(good["key"])), (encrypted(good["key"]), good["certificate"])):
        with pytest.raises(ValueError, match="without a password"):
            context_of(None, ClientCertificate(certificate=fields[0], key=SecretStr(fields[1])))
    assert tried == []


async def test_what_connections_are_made_with_is_kept_for_the_latest_endpoints_alone(
    client: httpx.AsyncClient, redis: ArqRedis, authority: trustme.CA
) -> None:
    before = context_of.cache_info().currsize
    await make(client, "one", "https://acme.example/", ca=pem(authority), client_certificate=certificate(authority))
    assert context_of.cache_info().currsize == before, "the API makes no connection to it"
    endpoint = await Endpoints(redis).read("one")
    assert endpoint is not None
    targets, made = [], []
    for number in range(tls.MAX_CONTEXTS + 1):
        definition = {"ca": pem(authority) + "\n" * (number + 1), "client_certificate": None}
        other = endpoint.model_copy(update={"definition": endpoint.definition.model_copy(update=definition)})
        targets.append(target_of(other))
        assert targets[-1].tls is not None
        made.append(weakref.ref(targets[-1].tls))
    assert [context() is not None for context in made] == [False, *[True] * tls.MAX_CONTEXTS]


def test_a_certificate_has_a_key_of_a_bounded_size(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LARGEST_KEY_BITS", 128)
    good = certificate(authority)
    with pytest.raises(ValueError, match="128 bits at most"):
        context_of(None, ClientCertificate(certificate=good["certificate"], key=SecretStr(good["key"])))


async def test_endpoints_that_are_read_do_not_have_their_certificates_tried_again(
    client: httpx.AsyncClient, redis: ArqRedis, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(
        client, "one", "https://acme.example/", ca=pem(authority), client_certificate=certificate(authority)
    )
    tried: list[object] = []
    create = ssl.create_default_context

    def noted(**options: Any) -> ssl.SSLContext:
        tried.append(options)
        return create(**options)

    monkeypatch.setattr(ssl, "create_default_context", noted)
    assert (await client.get(f"{PATH}/one")).json()["client_certificate"] == made["client_certificate"]
    endpoint = await Endpoints(redis).get("one")
    assert endpoint is not None and tried == []
    # its deliveries are made with one context, or each would open a connection of its own
    rotated = endpoint.rotated(now_ms=int(time.time() * 1000))
    first, second = target_of(rotated), target_of(rotated)
    assert first.tls is second.tls is not None and len(tried) <= 1


async def test_certificates_that_cannot_work_are_refused(client: httpx.AsyncClient, authority: trustme.CA) -> None:
    good, other = certificate(authority), certificate(trustme.CA())
    refused: list[dict[str, Any]] = [
        {"ca": "rubbish"},
        {"ca": "Žofie"},
        {"ca": ""},
        {"client_certificate": {**good, "key": other["key"]}},
        {"client_certificate": {**good, "certificate": "rubbish"}},
        {"client_certificate": {**good, "key": good["certificate"]}},
        {"client_certificate": {**good, "key": encrypted(good["key"])}},
        {"client_certificate": {**good, "certificate": good["certificate"].replace("CERT", "TRUSTED CERT")}},
        {"url": "http://acme.example/", "ca": pem(authority)},
    ]
    for definition in refused:
        answer = await client.put(f"{PATH}/one", json={"url": "https://acme.example/", **definition})
        assert answer.status_code == 422, definition
        assert "PRIVATE KEY" not in answer.text
