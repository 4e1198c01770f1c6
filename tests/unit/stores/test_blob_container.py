"""What a container's configuration may be, before anything is sent."""

from __future__ import annotations

import pytest
from azure.core.credentials_async import AsyncTokenCredential

from consumer.errors import ConfigurationError
from consumer.stores.blob_container import BlobContainer

SECRET = "c2VjcmV0LWtleQ=="
CONNECTION_STRING = (
    f"DefaultEndpointsProtocol=https;AccountName=contoso;AccountKey={SECRET};EndpointSuffix=core.windows.net"
)
URL = "https://contoso.blob.core.windows.net"


class Credential(AsyncTokenCredential):
    async def get_token(self, *scopes, **kwargs):
        raise NotImplementedError

    async def close(self):
        pass

    async def __aexit__(self, *error):
        pass


@pytest.mark.parametrize("name", ["ab", "a" * 64, "Upper", "a--b", "-ab", "ab-", "a_b", "a/b", "", "ünicode"])
def test_a_name_that_azure_would_refuse_is_refused(name):
    with pytest.raises(ConfigurationError, match="3 to 63"):
        BlobContainer(name, connection_string=CONNECTION_STRING)


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a-b-c", "123", "checkpoints"])
async def test_a_good_name_is_taken(name):
    container = BlobContainer(name, connection_string=CONNECTION_STRING)
    assert container.name == name
    await container.close()


@pytest.mark.parametrize(
    "ways",
    [
        {},
        {"connection_string": CONNECTION_STRING, "account_url": URL},
        {"connection_string": "not one"},
        {"connection_string": "UseDevelopmentStorage=true"},
        {"account_url": URL},
        {"account_url": "contoso"},
        {"account_url": "http://127.0.0.1:10000/x", "credential": Credential()},
    ],
)
def test_a_way_to_reach_it_that_cannot_work_is_refused(ways):
    with pytest.raises(ConfigurationError):
        BlobContainer("checkpoints", **ways)


def test_a_wrong_connection_string_is_not_repeated_in_the_error():
    with pytest.raises(ConfigurationError) as caught:
        BlobContainer("checkpoints", connection_string=f"AccountKey={SECRET};nonsense")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_connection_string_is_read_from_a_file(tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"{CONNECTION_STRING}\n")
    container = BlobContainer("checkpoints", connection_string_file=file)
    assert container.place == "Container 'checkpoints' at contoso.blob.core.windows.net"
    await container.close()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="nowhere"):
        BlobContainer("checkpoints", connection_string_file=tmp_path / "nowhere")


async def test_a_signature_in_the_url_stays_out_of_what_is_logged():
    container = BlobContainer("checkpoints", account_url=f"{URL}?sv=2024&sig={SECRET}")
    assert container.place == "Container 'checkpoints' at contoso.blob.core.windows.net"
    await container.close()


async def test_an_identity_is_taken_over_https():
    container = BlobContainer("checkpoints", account_url=URL, credential=Credential())
    assert container.client.url == f"{URL}/checkpoints"
    await container.close()
