"""Dead letters in an event hub, with the real client over a socket."""

from __future__ import annotations

import json
import os

import pytest
from harness.letters import letter

from consumer.errors import ConfigurationError, StoreUnavailable
from consumer.hub import HubSettings, LocalHub, LocalHubSettings
from consumer.opening import open_dead_letters
from consumer.settings import EventHubLetters, Settings

PARTITIONS = 2


@pytest.fixture
async def hub():
    hubs = (HubSettings(name="letters", partitions=PARTITIONS),)
    async with LocalHub(LocalHubSettings(hubs=hubs)) as running:
        yield running


def place(hub: LocalHub) -> EventHubLetters:
    return EventHubLetters(type="eventhub", connection_string=hub.connection_string(), hub="letters")


async def test_what_one_process_puts_aside_another_lists_redrives_and_forgets(hub):
    large = letter("large", 1, original=os.urandom(1_048_576), dead_lettered_at_ms=1)
    async with open_dead_letters(place(hub)) as live, open_dead_letters(place(hub)) as operator:
        await live.probe()
        await live.put([large, letter("fraud", 1), letter("fraud", 2)])
        assert [each async for each in operator.letters()] == [large, letter("fraud", 1), letter("fraud", 2)]

        assert await operator.replace(letter("fraud", 1, attempts=9))
        assert await operator.remove([large]) == 1
        assert [(each.key, each.attempts) async for each in live.letters()] == [
            ("fraud-1", 9),
            ("fraud-2", 5),
        ]


async def test_a_hub_that_is_gone_says_so(hub):
    async with open_dead_letters(place(hub)) as store:
        await store.put([letter("fraud", 1)])
        await hub.close()
        with pytest.raises(StoreUnavailable, match="Dead letters: No Event Hub answers"):
            await store.put([letter("fraud", 2)])
        with pytest.raises(StoreUnavailable, match="Dead letters: No Event Hub answers"):
            await store.count()


async def test_a_hub_of_another_name_says_so(hub):
    told = EventHubLetters(type="eventhub", connection_string=hub.connection_string(), hub="other")
    async with open_dead_letters(told) as store:
        with pytest.raises(StoreUnavailable, match="no hub named other"):
            await store.probe()


def settings(**changes) -> Settings:
    secret = "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=s"
    known = {
        "source": {"type": "eventhub", "connection_string": secret, "hub": "events"},
        "dead_letters": {"type": "eventhub", "connection_string": secret, "hub": "letters"},
        "admission": {"topics": "any"},
        "processors": [{"name": "show", "type": "console"}],
    }
    return Settings.model_validate(json.loads(json.dumps(known | changes)))


def test_letters_in_a_hub_are_refused_where_somebody_parks():
    parking = [{"name": "show", "type": "console", "on_failure_order": "park"}]
    with pytest.raises(ValueError, match="keep them in sqlite or blob"):
        settings(processors=parking)
    assert settings().dead_letters.type == "eventhub"


def test_letters_in_the_source_itself_are_refused():
    with pytest.raises(ValueError, match="source's own hub"):
        settings(
            dead_letters={
                "type": "eventhub",
                "namespace": "Contoso.servicebus.windows.net",
                "hub": "EVENTS",
            }
        )


async def test_a_secret_that_leads_nowhere_is_an_error_of_the_configuration():
    told = EventHubLetters(
        type="eventhub",
        connection_string="Endpoint=sb://;SharedAccessKeyName=k;SharedAccessKey=hidden",
        hub="letters",
    )
    with pytest.raises(ConfigurationError) as caught:
        async with open_dead_letters(told):
            pass
    assert "hidden" not in str(caught.value)
