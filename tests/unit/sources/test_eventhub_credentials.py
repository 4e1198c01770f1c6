"""How fast connections may be made, and what a token is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.sources.eventhub_credentials import (
    WAIT_MAX_S,
    Pace,
    PacedCredential,
    SignatureCredential,
    credential_of,
)
from consumer.sources.eventhub_settings import EventHubSettings


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=60), st.integers(1, 10), st.sampled_from([0.5, 1, 2, 10])
)
def test_in_no_stretch_of_time_are_there_more_turns_than_the_pace_allows(steps, burst, per_second):
    pace, now, turns = Pace(burst=burst, per_second=per_second), 0.0, []
    for step in steps:
        now += step
        wait_s = pace.wait_s(now)
        if wait_s >= WAIT_MAX_S:
            break  # From here on nobody waits for the pace any more: the next test.
        turns.append(now + wait_s)
    assert turns == sorted(turns)
    for first in range(len(turns)):
        for last in range(first, len(turns)):
            assert last - first + 1 <= burst + (turns[last] - turns[first]) * per_second + 1e-6


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.sampled_from([0.5, 1, 2, 10]))
def test_nobody_waits_longer_than_the_limit(steps, per_second):
    pace, now = Pace(burst=1, per_second=per_second), 0.0
    for step in steps:
        now += step
        assert 0 <= pace.wait_s(now) <= WAIT_MAX_S + 1e-6


def test_nobody_waits_within_the_burst():
    pace = Pace(burst=3, per_second=1)
    assert [pace.wait_s(100) for _ in range(5)] == [0, 0, 0, 1, 2]


async def test_a_signature_is_its_own_token():
    signature = "SharedAccessSignature sr=x&sig=y&se=1900000000"
    settings = EventHubSettings(connection_string=f"Endpoint=sb://h;SharedAccessSignature={signature}")
    credential = credential_of(settings)
    assert isinstance(credential, SignatureCredential)
    token = await credential.get_token("sb://h/hub")
    assert token.token == signature
    assert token.expires_on == 1_900_000_000


async def test_a_key_makes_a_token_for_what_is_asked():
    credential = credential_of(
        EventHubSettings(connection_string="Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey=a2V5")
    )
    paced = PacedCredential(credential, Pace())
    token = await paced.get_token("sb://h/hub")
    assert "sb%3a%2f%2fh%2fhub" in str(token.token).lower()
    assert paced.token_type == b"servicebus.windows.net:sastoken"


def test_an_identity_has_no_token_type():
    with pytest.raises(AttributeError):
        _ = PacedCredential(object(), Pace()).token_type
