"""Azure Resource Manager through the real client: what is sent, what is followed, what errors mean."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from contextlib import asynccontextmanager

import pytest
from azure.core.credentials import AccessToken
from harness.resource_manager import DROPPED, LOST, TOKEN, Fault, ResourceManagerServer, Said, error
from harness.resource_manager_ml import WORKSPACE
from pydantic import ValidationError

from consumer.errors import ProcessorSettingsError
from consumer.processor import NotYet, Reject, Retry
from processors.azure_credentials import credential_of
from processors.azure_rest import AccessRefused, Patience, Refused, ResourceManager
from processors.azure_settings import AzureSettings

API = "2024-04-01"
ENDPOINT = f"{WORKSPACE}/onlineEndpoints/shop"
NEW_ENDPOINT = {"location": "westeurope", "properties": {"authMode": "Key"}}


@asynccontextmanager
async def connected(azure, **changes):
    settings = AzureSettings(endpoint=azure.url, **{"poll_s": 0.01, **changes})
    manager = ResourceManager(settings, credential_of(settings))
    try:
        yield manager
    finally:
        await manager.close()


async def test_a_request_carries_the_token_of_the_identity_and_an_id_made_from_the_effects_key(
    azure, workspace
):
    async with connected(azure) as manager:
        await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key-1")
        await manager.put(ENDPOINT.replace("shop", "bar"), API, NEW_ENDPOINT, "key-1")
        await manager.put(ENDPOINT.replace("shop", "den"), API, NEW_ENDPOINT, "key-2")
    first, same, other = (deed.request_id for deed in azure.ledger)
    assert first == same != other
    assert str(uuid.UUID(first)) == first


async def test_an_operation_is_followed_to_its_end(azure, workspace):
    async with connected(azure) as manager:
        answer = await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
        ending = await manager.follow(answer, "key", Patience(10), "The endpoint")
        assert ending.is_success
        assert (await manager.get(ENDPOINT, API, "key"))["properties"]["provisioningState"] == "Succeeded"


async def test_a_failed_operation_ends_with_azures_code_and_message(azure, workspace):
    azure.failing["shop"] = ("OutOfQuota", "Not enough\nquota.")
    async with connected(azure) as manager:
        answer = await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
        ending = await manager.follow(answer, "key", Patience(10), "The endpoint")
    assert (ending.is_success, ending.code, ending.message) == (False, "OutOfQuota", "Not enough quota.")


async def test_looks_are_as_far_apart_as_azure_asks(azure, workspace):
    azure.looks, azure.retry_after = 1, "1"
    async with connected(azure) as manager:
        answer = await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
        await manager.follow(answer, "key", Patience(10), "The endpoint")
    first, second = azure.asked("GET", "/operations/")
    assert second - first >= 1


async def test_an_operation_that_outlasts_the_patience_is_asked_for_again_and_goes_on(azure, workspace):
    azure.gate.clear()
    async with connected(azure) as manager:
        answer = await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
        with pytest.raises(NotYet, match="still under way"):
            await manager.follow(answer, "key", Patience(0.1), "The endpoint")
    assert azure.deeds("endpoint") == ["shop"]


async def test_a_look_that_fails_says_nothing_of_the_operation(azure, workspace):
    azure.faults += [Fault("GET", "/operations/", Said(503)), Fault("GET", "/operations/", DROPPED)]
    async with connected(azure, poll_s=0.01) as manager:
        answer = await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
        asked = asyncio.timeout(30)
        async with asked:
            ending = await manager.follow(answer, "key", Patience(20), "The endpoint")
    assert ending.is_success


async def test_a_list_is_read_over_all_of_its_pages(azure, workspace):
    workspace.add_endpoint("shop")
    for number in range(5):
        workspace.add_deployment("shop", f"d{number}", f"fraud:{number}")
    workspace.page_size = 2
    async with connected(azure) as manager:
        found = await manager.list(f"{ENDPOINT}/deployments", API, "key")
    assert [each["name"] for each in found] == ["d0", "d1", "d2", "d3", "d4"]


async def test_what_does_not_exist_is_none(azure, workspace):
    async with connected(azure) as manager:
        assert await manager.get(ENDPOINT, API, "key") is None


@pytest.mark.parametrize(
    ("said", "expected", "text"),
    [
        (error(429, "TooManyRequests", "Slow down.", Retry_After="17"), NotYet, "TooManyRequests"),
        (error(503, "ServiceUnavailable", "Later."), Retry, "ServiceUnavailable"),
        (Said(502), Retry, "502"),
        (error(409, "Conflict", "In progress."), NotYet, "In progress"),
        (error(400, "UserError", "It is in Updating provisioning state."), NotYet, "Updating"),
        (error(400, "BadArgument", "No."), Refused, r"BadArgument\): No"),
        (error(422, "Unprocessable", "No."), Refused, "Unprocessable"),
        (error(404, "PipelineNotFound", "No."), Refused, "PipelineNotFound"),
        (error(403, "AuthorizationFailed", "No."), AccessRefused, "role"),
        (error(401, "ExpiredAuthenticationToken", "No."), AccessRefused, "ExpiredAuthenticationToken"),
    ],
)
async def test_an_error_means_again_never_or_somebody_has_to_act(azure, workspace, said, expected, text):
    azure.faults.append(Fault("PUT", "shop", said))
    async with connected(azure) as manager:
        with pytest.raises(expected, match=text) as raised:
            await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
    assert isinstance(raised.value, Reject) == (expected is Refused)
    assert isinstance(raised.value, NotYet) == (expected is NotYet)
    if said.headers:
        assert raised.value.after_s == 17
    assert azure.ledger == []


async def test_a_request_is_sent_once_and_never_again_by_the_client_itself(azure, workspace):
    azure.faults.append(Fault("PUT", "shop", Said(503), times=5))
    async with connected(azure) as manager:
        with pytest.raises(Retry):
            await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
    assert len(azure.asked("PUT", "shop")) == 1


@pytest.mark.parametrize("how", [LOST, DROPPED])
async def test_an_answer_that_never_came_is_a_retry_whatever_was_done(azure, workspace, how):
    azure.faults.append(Fault("PUT", "shop", how, times=2))  # aiohttp repeats a PUT once
    async with connected(azure) as manager:
        with pytest.raises(Retry, match="no answer"):
            await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
    assert azure.deeds("endpoint") == (["shop"] if how == LOST else [])


async def test_a_request_that_takes_too_long_is_a_retry(azure, workspace):
    never = asyncio.Event()
    azure.faults.append(Fault("PUT", "shop", never))
    async with connected(azure, request_max_s=0.2) as manager:
        with pytest.raises(Retry, match="no answer"):
            await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
    never.set()


@pytest.mark.parametrize("header", ["Azure-AsyncOperation", "Location"])
async def test_no_token_goes_to_an_address_of_another_host(azure, workspace, header):
    async with ResourceManagerServer() as elsewhere, connected(azure) as manager:
        azure.faults.append(Fault("PUT", "shop", Said(201, {}, {header: f"{elsewhere.url}/operations/1"})))
        answer = await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
        assert await manager.follow(answer, "key", Patience(10), "It") is None
        assert await manager.ended(f"{elsewhere.url}/operations/1", "key") is None
        azure.faults.append(Fault("GET", "shop", Said(200, {"value": [], "nextLink": f"{elsewhere.url}/2"})))
        with pytest.raises(AccessRefused, match="another host"):
            await manager.list(f"{ENDPOINT}/deployments", API, "key")
        assert elsewhere.requests == []


async def test_an_operation_that_azure_has_forgotten_is_left_to_the_resource_to_tell(azure, workspace):
    azure.faults.append(Fault("GET", "/operations/", error(404, "NotFound", "Gone.")))
    async with connected(azure) as manager:
        answer = await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
        assert await manager.follow(answer, "key", Patience(10), "The endpoint") is None


async def test_an_operation_that_is_told_of_by_location_ends_when_it_is_accepted_no_more(azure, workspace):
    at = f"{azure.url}{WORKSPACE}/result?api-version={API}"
    azure.faults += [
        Fault("PUT", "shop", Said(202, None, {"Location": at})),
        Fault("GET", "/result", Said(202), times=2),
        Fault("GET", "/result", Said(200, {})),
    ]
    async with connected(azure) as manager:
        answer = await manager.put(ENDPOINT, API, NEW_ENDPOINT, "key")
        assert (await manager.follow(answer, "key", Patience(10), "It")).is_success
    assert len(azure.asked("GET", "/result")) == 3


async def test_a_machine_without_an_identity_is_a_fault_and_no_retry(azure, monkeypatch):
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    async with connected(azure) as manager:
        with pytest.raises(AccessRefused, match="No token"):
            await manager.get(ENDPOINT, API, "key")


def test_a_token_goes_over_https_only_but_on_this_machine():
    with pytest.raises(ValidationError, match="https only"):
        AzureSettings(endpoint="http://management.example.net")
    assert AzureSettings(endpoint="http://127.0.0.1:80").is_plain
    assert AzureSettings(cloud="china").url == "https://management.chinacloudapi.cn"


def test_a_secret_needs_its_file(tmp_path):
    with pytest.raises(ValidationError, match="client_secret_file"):
        AzureSettings(identity="client_secret", tenant_id="t", client_id="c")
    named = {"identity": "client_secret", "tenant_id": "t", "client_id": "c"}
    with pytest.raises(ProcessorSettingsError, match="cannot be read"):
        credential_of(AzureSettings(**named, client_secret_file=tmp_path / "secret"))
    with pytest.raises(ValidationError, match="no effect"):
        AzureSettings(client_secret_file=tmp_path / "secret")


async def test_a_secret_is_read_again_when_its_file_changes(tmp_path, monkeypatch):
    used, closed = [], []

    class Application:
        """In place of a directory, which speaks https only."""

        def __init__(self, tenant, client, secret, *, authority):
            self.named = (tenant, client, secret, authority)

        async def get_token(self, *scopes, **_):
            used.append((*self.named, *scopes))
            return AccessToken("token", 2**32)

        async def close(self):
            closed.append(self.named[2])

    monkeypatch.setattr("processors.azure_credentials.ClientSecretCredential", Application)
    path = tmp_path / "secret"
    path.write_text("one\n")
    named = {"tenant_id": "t", "client_id": "c", "client_secret_file": path, "cloud": "china"}
    credential = credential_of(AzureSettings(identity="client_secret", **named))
    await credential.get_token("scope")
    path.write_text("another")
    await credential.get_token("scope")
    await credential.close()
    authority = "login.chinacloudapi.cn"
    assert used == [("t", "c", "one", authority, "scope"), ("t", "c", "another", authority, "scope")]
    assert closed == ["one", "another"]


async def test_whoever_is_logged_in_on_the_command_line_is_asked_for_a_token(
    azure, workspace, tmp_path, monkeypatch
):
    answer = {"accessToken": TOKEN, "expiresOn": "2099-01-01 00:00:00.000000", "tokenType": "Bearer"}
    program = tmp_path / "az"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    async with connected(azure, identity="cli") as manager:
        assert await manager.get(ENDPOINT, API, "key") is None


def test_a_pod_without_a_federated_token_is_told_what_to_look_at(monkeypatch):
    for name in ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ProcessorSettingsError, match="service account"):
        credential_of(AzureSettings(identity="workload"))
