"""A managed identity opens the store: its token endpoint is played, Azurite is real and speaks https."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import time
from pathlib import Path

import pytest
from aiohttp import web
from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumer.errors import StoreUnavailable
from consumer.events import Checkpoint, PartitionId

PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$Default", "0")
SECRET_HEADER = "only this container knows"
CREDENTIALS = {
    "managed": ManagedIdentityCredential,
    "managed with a client id": lambda: ManagedIdentityCredential(client_id="11111111-2222"),
    "default": DefaultAzureCredential,
}


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 for an hour, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azurite")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate_file, key_file


@pytest.fixture(scope="module")
def https_azurite(start_azurite, tmp_path_factory):
    """An Azurite that takes tokens, with the certificate to trust."""
    certificate, key = self_signed(tmp_path_factory.mktemp("certificate"))
    options = ("--oauth", "basic", "--cert", str(certificate), "--key", str(key))
    with start_azurite(*options, scheme="https") as started:
        yield started, certificate


class IdentityEndpoint:
    """The token endpoint that Container Apps and App Service give to a container."""

    def __init__(self) -> None:
        self.audience = "https://storage.azure.com"
        self.asked: list[dict[str, str]] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        if request.headers.get("X-IDENTITY-HEADER") != SECRET_HEADER:
            return web.Response(status=401)
        self.asked.append(dict(request.query))
        now = int(time.time())
        claims = {
            "aud": self.audience,
            "iss": "https://sts.windows.net/11111111-0000-0000-0000-000000000000/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 3_600,
        }
        token = ".".join(
            base64.urlsafe_b64encode(part).rstrip(b"=").decode()
            for part in (b'{"alg":"HS256","typ":"JWT"}', json.dumps(claims).encode(), b"unchecked")
        )
        return web.json_response(
            {
                "access_token": token,
                "expires_on": str(now + 3_600),
                "resource": request.query["resource"],
                "token_type": "Bearer",
            }
        )


@pytest.fixture
async def identity_endpoint(monkeypatch):
    endpoint = IdentityEndpoint()
    runner = web.ServerRunner(web.Server(endpoint))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", SECRET_HEADER)
    yield endpoint
    await runner.cleanup()


@pytest.fixture
def open_with(https_azurite, open_blob_store):
    """Opens a store for a credential."""
    azurite, certificate = https_azurite
    return lambda credential: open_blob_store(
        connection_string=None, account_url=azurite.account_url, credential=credential, ca_file=certificate
    )


@pytest.mark.parametrize("kind", CREDENTIALS)
async def test_an_identity_opens_the_store(open_with, identity_endpoint, kind):
    async with CREDENTIALS[kind]() as credential:
        store = open_with(credential)
        await store.probe()
        fence = await store.save(PARTITION, Checkpoint(1, "1"), b"state", "")
        assert (await store.load(PARTITION)).fence == fence
    assert {asked["resource"] for asked in identity_endpoint.asked} == {"https://storage.azure.com"}
    client_ids = {"11111111-2222"} if "client id" in kind else {None}
    assert {asked.get("client_id") for asked in identity_endpoint.asked} == client_ids


async def test_a_token_for_something_else_is_refused_in_one_line(open_with, identity_endpoint):
    identity_endpoint.audience = "https://vault.azure.net"
    async with ManagedIdentityCredential() as credential:
        with pytest.raises(StoreUnavailable, match="Storage Blob Data Contributor") as caught:
            await open_with(credential).load(PARTITION)
    assert "\n" not in str(caught.value)


async def test_an_identity_that_is_not_there_is_named_in_one_line(open_with, identity_endpoint, monkeypatch):
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    async with ManagedIdentityCredential() as credential:
        with pytest.raises(
            StoreUnavailable, match=r"no token could be had .* Check the configured identity"
        ) as caught:
            await open_with(credential).load(PARTITION)
    assert "\n" not in str(caught.value)


async def test_a_certificate_that_is_not_trusted_is_refused(
    https_azurite, open_blob_store, identity_endpoint
):
    azurite, _ = https_azurite
    async with ManagedIdentityCredential() as credential:
        store = open_blob_store(
            connection_string=None, account_url=azurite.account_url, credential=credential
        )
        with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
            await store.load(PARTITION)
    assert identity_endpoint.asked  # the token was there; it was not sent
