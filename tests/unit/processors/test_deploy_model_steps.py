"""The next step of a deployment, whatever the endpoint has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.deploy_model_steps import (
    Aim,
    Deploy,
    Deployed,
    Deployment,
    Failed,
    Follow,
    Occupied,
    Superseded,
    TooMany,
    model_of,
    next_step,
    read_deployment,
)

NOW_S = 1_800_000_000.0
AIM = Aim("fraud", 5, "blue", "our-key", per_hour_max=3, operation_max_s=600)


def deployment(name="blue", model="fraud", version=4, state="succeeded", key="", begun_s=()):
    return Deployment(name, model, version, state, key, tuple(begun_s), {})


deployments = st.lists(
    st.builds(
        Deployment,
        st.sampled_from(["blue", "Blue", "green", "red"]),
        st.sampled_from(["fraud", "churn", ""]),
        st.none() | st.integers(1, 9),
        st.sampled_from(["succeeded", "failed", "canceled", "creating", "updating", "deleting"]),
        st.sampled_from(["", "our-key", "other-key"]),
        st.lists(st.integers(int(NOW_S) - 8_000, int(NOW_S)), max_size=4).map(tuple),
        st.just({}),
    ),
    max_size=4,
    unique_by=lambda each: each.name.casefold(),
)


@given(deployments)
def test_only_a_higher_version_of_the_same_model_at_rest_is_ever_replaced(found):
    step = next_step(AIM, found, NOW_S)
    if not isinstance(step, Deploy):
        return
    assert all(each.version is None or each.version <= 5 for each in found if each.model == "fraud")
    assert not any(each.is_moving for each in found)
    if step.existing is not None:
        assert step.existing.model == "fraud"
        assert step.existing.version < 5 or step.existing.state != "succeeded"
    begun = [at for each in found for at in each.begun_s if at > NOW_S - 3_600]
    assert len(begun) < AIM.per_hour_max
    assert step.begun_s[-1] == NOW_S


@given(deployments)
def test_a_higher_version_ends_it_whatever_its_state(found):
    higher = [each.version for each in found if each.model == "fraud" and (each.version or 0) > 5]
    step = next_step(AIM, found, NOW_S)
    assert isinstance(step, Superseded) == bool(higher)
    if higher:
        assert step.version == max(higher)


@given(deployments)
def test_too_many_wait_no_longer_than_until_one_of_the_hour_is_past(found):
    step = next_step(AIM, found, NOW_S)
    if isinstance(step, TooMany):
        assert 1 <= step.wait_s <= 3_600
        later = next_step(AIM, found, NOW_S + step.wait_s)
        assert not isinstance(later, TooMany)


@pytest.mark.parametrize(
    ("found", "step"),
    [
        ([], Deploy),
        ([deployment()], Deploy),
        ([deployment(version=5)], Deployed),
        ([deployment(version=5, state="updating")], Follow),
        ([deployment(name="green", state="creating", model="churn")], Follow),
        ([deployment(version=5, state="failed")], Deploy),
        ([deployment(version=5, state="failed", key="our-key", begun_s=[NOW_S - 60])], Failed),
        ([deployment(version=5, state="failed", key="our-key", begun_s=[NOW_S - 700])], Deploy),
        ([deployment(version=5, state="failed", key="other", begun_s=[NOW_S - 60])], Deploy),
        ([deployment(version=5, state="updating", key="our-key", begun_s=[NOW_S - 590])], Follow),
        ([deployment(version=5, state="updating", key="our-key", begun_s=[NOW_S - 610])], Failed),
        ([deployment(version=5, state="updating", key="other", begun_s=[NOW_S - 610])], Follow),
        ([deployment(model="churn")], Occupied),
        ([deployment(version=None)], Occupied),
        ([deployment(begun_s=[NOW_S - 1, NOW_S - 2, NOW_S - 3])], TooMany),
        ([deployment(begun_s=[NOW_S - 3_601] * 3)], Deploy),
    ],
)
def test_the_step_fits_what_is_there(found, step):
    assert isinstance(next_step(AIM, found, NOW_S), step)


def test_only_what_has_our_key_is_our_work():
    assert next_step(AIM, [deployment(version=5, key="our-key")], NOW_S) == Deployed(is_ours=True)
    assert next_step(AIM, [deployment(version=5, key="other")], NOW_S) == Deployed(is_ours=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/subscriptions/s/resourceGroups/g/providers/X/workspaces/w/models/fraud/versions/3", ("fraud", 3)),
        ("azureml://registries/r/models/fraud/versions/12", ("fraud", 12)),
        ("azureml:fraud:3", ("fraud", 3)),
        ("fraud:3", ("fraud", 3)),
        ("fraud:latest", ("fraud", None)),
        ("", ("", None)),
        ("nonsense", ("", None)),
    ],
)
def test_a_model_id_is_read_in_every_form(text, expected):
    assert model_of(text) == expected


def test_what_resource_manager_leaves_out_does_no_harm():
    assert read_deployment({"name": "blue"}) == Deployment(
        "blue", "", None, "succeeded", "", (), {"name": "blue"}
    )
    odd = {"name": "blue", "properties": None, "tags": {"inturn-begun": "12 x -4"}}
    assert read_deployment(odd).begun_s == (12,)
