"""Deployments at a fake Azure ML, over HTTP: what is done there, once, and never backwards."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from harness.resource_manager import LOST, Fault, error
from harness.resource_manager_ml import WORKSPACE

from consumer.processor import Context, NotYet, Reject, Retry
from processors.azure_rest import AccessRefused
from processors.deploy_model import DeployModel

TOPIC = "/subscriptions/s/resourcegroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
RULE = {"models": ["fraud*"], "endpoint": "shop", "deployment": "blue"}


@asynccontextmanager
async def deploying(azure, rule=None, **changes):
    settings = {
        "azure": {"endpoint": azure.url, "poll_s": 0.01},
        "workspaces": [WORKSPACE],
        "rules": [RULE | (rule or {})],
        "deployments_per_hour_max": 10,
    }
    processor = DeployModel(DeployModel.Settings.model_validate(settings | changes))
    await processor.open()
    try:
        yield processor
    finally:
        await processor.close()


@pytest.fixture
def registered(event):
    """Makes the event that a version of a model was registered."""

    def make(version, name="fraud", tags=None, **changes):
        data = {
            "ModelName": name,
            "modelVersion": str(version),
            "modelTags": tags or {},
            "modelProperties": {},
        }
        known = {
            "topic": TOPIC,
            "subject": f"models/{name}:{version}",
            "data": data,
            "id": f"{name}-{version}",
        }
        return event(**(known | changes))

    return make


def context_of(event, attempt=1):
    return Context("deploy", attempt, [event], lambda event: f"key-of-{event.id}")


async def given(processor, event, attempt=1):
    """Hand over an event; gives what was emitted."""
    context = context_of(event, attempt)
    await processor(event, context)
    return [(emission.type.removeprefix("Inturn."), emission.data) for emission in context.emitted]


@pytest.fixture
def shop(workspace):
    """A workspace with an endpoint that nothing is deployed to."""
    workspace.add_endpoint("shop")
    return workspace


async def test_a_registered_version_is_deployed_and_told(azure, shop, registered):
    async with deploying(azure, {"instance_type": "Standard_F4s_v2", "instance_count": 2}) as deploy:
        ((told, data),) = await given(deploy, registered(3))
    assert azure.deeds("deployment") == ["shop/blue"]
    assert shop.model_of("shop", "blue") == "fraud:3"
    made = shop.deployments["shop", "blue"]
    assert (made["properties"]["instanceType"], made["sku"]["capacity"]) == ("Standard_F4s_v2", 2)
    assert (made["properties"]["provisioningState"], made["location"]) == ("Succeeded", "westeurope")
    assert told == "ModelDeployed"
    assert data == {
        "workspace": WORKSPACE,
        "modelName": "fraud",
        "modelVersion": 3,
        "endpointName": "shop",
        "deploymentName": "blue",
    }


async def test_a_lower_version_that_comes_late_is_never_deployed(azure, shop, registered):
    async with deploying(azure) as deploy:
        await given(deploy, registered(3))
        assert await given(deploy, registered(2)) == []
    assert [deed.detail["model"] for deed in azure.ledger] == ["fraud:3"]


async def test_versions_are_compared_as_numbers(azure, shop, registered):
    shop.add_deployment("shop", "blue", "fraud:9")
    async with deploying(azure) as deploy:
        await given(deploy, registered(10))
        await given(deploy, registered(9))
    assert shop.model_of("shop", "blue") == "fraud:10"
    assert len(azure.ledger) == 1


async def test_a_version_that_somebody_else_deployed_is_left_alone_and_not_told(azure, shop, registered):
    shop.add_deployment("shop", "blue", "fraud:3")
    async with deploying(azure, {"traffic": "all"}) as deploy:
        assert await given(deploy, registered(3)) == []
    assert azure.ledger == []


async def test_a_higher_version_under_another_deployment_of_the_endpoint_counts(azure, shop, registered):
    shop.add_deployment("shop", "fraud-v4", "fraud:4")
    async with deploying(azure, {"deployment": "fraud-v{version}"}) as deploy:
        await given(deploy, registered(3))
        await given(deploy, registered(5))
    assert azure.deeds("deployment") == ["shop/fraud-v5"]


async def test_an_update_keeps_what_the_rule_does_not_say(azure, shop, registered):
    shop.add_deployment("shop", "blue", "fraud:2", requestSettings={"requestTimeout": "PT9S"})
    shop.deployments["shop", "blue"]["tags"]["team"] = "risk"
    own = {"type": "UserAssigned", "userAssignedIdentities": {"/id": {"principalId": "p", "clientId": "c"}}}
    shop.deployments["shop", "blue"]["identity"] = own
    async with deploying(azure) as deploy:
        await given(deploy, registered(3))
    made = shop.deployments["shop", "blue"]
    assert made["properties"]["requestSettings"] == {"requestTimeout": "PT9S"}
    assert (made["sku"]["capacity"], made["tags"]["team"]) == (3, "risk")
    assert made["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {"/id": {}}}


async def test_a_deployment_of_another_model_is_not_replaced(azure, shop, registered):
    shop.add_deployment("shop", "blue", "churn:1")
    async with deploying(azure) as deploy:
        with pytest.raises(Reject, match="not replaced"):
            await given(deploy, registered(3))
    assert azure.ledger == []


@pytest.mark.parametrize("traffic", ["all", "keep"])
async def test_traffic_moves_after_success_and_only_if_wanted(azure, shop, registered, traffic):
    async with deploying(azure, {"traffic": traffic}) as deploy:
        await given(deploy, registered(3))
    assert shop.endpoints["shop"]["properties"]["traffic"] == ({"blue": 100} if traffic == "all" else {})


async def test_traffic_that_somebody_moved_away_is_not_moved_back_by_a_second_event(azure, shop, registered):
    shop.add_deployment("shop", "green", "fraud:2")
    async with deploying(azure, {"traffic": "all"}) as deploy:
        await given(deploy, registered(3))
        shop.endpoints["shop"]["properties"]["traffic"] = {"green": 100}
        await given(deploy, registered(3))
    assert shop.endpoints["shop"]["properties"]["traffic"] == {"green": 100}
    assert len(azure.deeds("traffic")) == 1


async def test_an_endpoint_is_made_only_where_the_rule_says_how(azure, workspace, registered):
    async with deploying(azure) as deploy:
        ((told, data),) = await given(deploy, registered(3))
    assert (told, data["code"]) == ("ModelDeploymentFailed", "NoEndpoint")
    async with deploying(azure, {"create_endpoint": {"location": "northeurope"}}) as deploy:
        await given(deploy, registered(3))
    assert [deed.kind for deed in azure.ledger] == ["endpoint", "deployment"]


async def test_a_deployment_that_azure_cannot_do_is_told_and_does_not_stop_the_next_version(
    azure, shop, registered
):
    azure.failing["blue"] = ("ImageBuildFailure", "The image could not be built.")
    async with deploying(azure) as deploy:
        ((told, data),) = await given(deploy, registered(3))
        assert (told, data["code"]) == ("ModelDeploymentFailed", "ImageBuildFailure")
        assert data["message"] == "The image could not be built."
        azure.failing.clear()
        ((told, _),) = await given(deploy, registered(4))
    assert (told, shop.model_of("shop", "blue")) == ("ModelDeployed", "fraud:4")


async def test_a_failure_can_be_a_dead_letter_instead(azure, shop, registered):
    azure.failing["blue"] = ("OutOfQuota", "None left.")
    async with deploying(azure, on_failed="reject") as deploy:
        with pytest.raises(Reject, match="OutOfQuota: None left"):
            await given(deploy, registered(3))


async def test_what_azure_refuses_is_told_as_a_failure(azure, shop, registered):
    shop.unknown_models.add("models/fraud/versions/3")
    async with deploying(azure) as deploy:
        ((told, data),) = await given(deploy, registered(3))
    assert (told, data["code"]) == ("ModelDeploymentFailed", "ResourceNotFound")


async def test_after_a_lost_answer_the_work_is_found_and_not_done_twice(azure, shop, registered):
    azure.faults.append(Fault("PUT", "/deployments/blue", LOST, times=2))
    async with deploying(azure, {"traffic": "all"}) as deploy:
        with pytest.raises(Retry):
            await given(deploy, registered(3))
    # Another process, which knows nothing.
    async with deploying(azure, {"traffic": "all"}) as deploy:
        ((told, _),) = await given(deploy, registered(3), attempt=2)
    assert told == "ModelDeployed"
    assert [deed.kind for deed in azure.ledger] == ["deployment", "traffic"]


async def test_a_crash_after_the_effect_repeats_what_is_told_and_not_what_is_done(azure, shop, registered):
    for _ in range(2):
        async with deploying(azure) as deploy:
            ((told, _),) = await given(deploy, registered(3))
            assert told == "ModelDeployed"
    assert len(azure.ledger) == 1


async def test_an_attempt_that_is_cut_in_mid_operation_goes_on_with_it(azure, shop, registered):
    azure.gate.clear()
    async with deploying(azure) as deploy:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await given(deploy, registered(3))
    assert shop.deployments["shop", "blue"]["properties"]["provisioningState"] == "Creating"
    azure.gate.set()
    async with deploying(azure) as deploy:
        ((told, _),) = await given(deploy, registered(3), attempt=2)
    assert (told, len(azure.ledger)) == ("ModelDeployed", 1)


async def test_a_failure_found_after_a_crash_is_told_with_its_reason_and_not_tried_again(
    azure, shop, registered
):
    azure.gate.clear()
    azure.failing["blue"] = ("ImageBuildFailure", "No.")
    async with deploying(azure, follow_s=0.3) as deploy:
        with pytest.raises(Retry):
            await given(deploy, registered(3))
    azure.gate.set()
    async with deploying(azure) as deploy:
        ((told, data),) = await given(deploy, registered(3), attempt=2)
    assert (told, data["code"], len(azure.ledger)) == ("ModelDeploymentFailed", "ImageBuildFailure", 1)


async def test_a_deployment_that_takes_too_long_is_told_as_failed(azure, shop, registered):
    azure.gate.clear()
    async with deploying(azure, follow_s=0.1, operation_max_s=1) as deploy:
        async with asyncio.timeout(20):
            while True:
                try:
                    ((told, data),) = await given(deploy, registered(3))
                    break
                except NotYet:
                    continue
    assert (told, data["code"], len(azure.ledger)) == ("ModelDeploymentFailed", "TakesTooLong", 1)


async def test_a_deployment_of_somebody_else_is_waited_for(azure, shop, registered):
    shop.add_deployment("shop", "green", "churn:1")
    shop._begin(shop.deployments["shop", "green"], "green", "Updating")
    async with deploying(azure) as deploy:
        await given(deploy, registered(3))
    assert shop.deployments["shop", "green"]["properties"]["provisioningState"] == "Succeeded"
    assert azure.deeds("deployment") == ["shop/blue"]


async def test_azure_that_asks_for_time_gets_it(azure, shop, registered):
    azure.faults.append(
        Fault("PUT", "/deployments/", error(429, "TooManyRequests", "Slow.", Retry_After="7"))
    )
    async with deploying(azure) as deploy:
        with pytest.raises(NotYet) as asked:
            await given(deploy, registered(3))
        assert asked.value.after_s == 7
        await given(deploy, registered(3), attempt=2)
    assert azure.deeds("deployment") == ["shop/blue"]


async def test_without_the_role_it_is_a_fault_that_names_the_role(azure, shop, registered):
    azure.is_forbidden = True
    async with deploying(azure) as deploy:
        with pytest.raises(AccessRefused, match="role"):
            await given(deploy, registered(3))


async def test_deployments_an_hour_are_counted_at_azure_over_all_processes(azure, shop, registered):
    for version in (1, 2):
        async with deploying(azure, deployments_per_hour_max=2) as deploy:
            await given(deploy, registered(version))
    async with deploying(azure, deployments_per_hour_max=2) as deploy:
        with pytest.raises(NotYet, match="in this hour") as asked:
            await given(deploy, registered(3))
    assert 3_500 < asked.value.after_s <= 3_600
    assert len(azure.ledger) == 2


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "fraud/../../jobs",
        "fraud%2f..",
        "fraud?x=1",
        "fraud#x",
        "fraud x",
        "fraud\r\nx",
        "-fraud",
        "fräud",
    ],
)
async def test_a_name_that_is_none_is_refused_before_anything_is_asked(azure, shop, registered, name):
    async with deploying(azure, {"models": ["*"]}) as deploy:
        with pytest.raises(Reject, match="no name"):
            await given(deploy, registered(3, name))
    assert azure.requests == []


@pytest.mark.parametrize("version", ["1/../2", "latest", "-1", "0x10", "1 ", "٣", "1e3"])
async def test_a_version_that_is_none_is_refused_before_anything_is_asked(azure, shop, registered, version):
    async with deploying(azure) as deploy:
        with pytest.raises(Reject, match="whole number"):
            await given(deploy, registered(version))
    assert azure.requests == []


async def test_a_workspace_that_is_not_listed_is_left_alone(azure, shop, registered):
    async with deploying(azure) as deploy:
        assert await given(deploy, registered(3, topic=TOPIC + "2")) == []
    assert azure.requests == []


async def test_two_attempts_side_by_side_do_it_once(azure, shop, registered):
    async with deploying(azure) as one, deploying(azure) as other, asyncio.TaskGroup() as group:

        async def until_done(deploy):
            while True:
                try:
                    return await given(deploy, registered(3))
                except Retry:
                    await asyncio.sleep(0.01)

        group.create_task(until_done(one))
        group.create_task(until_done(other))
    assert azure.deeds("deployment") == ["shop/blue"]


def test_nothing_is_deployed_until_it_is_told_where_what_and_how_often():
    for missing in ("workspaces", "rules", "deployments_per_hour_max"):
        known = {"workspaces": [WORKSPACE], "rules": [RULE], "deployments_per_hour_max": 1}
        known.pop(missing)
        with pytest.raises(ValueError, match=missing):
            DeployModel.Settings.model_validate(known)
