"""A local Event Hubs: the unmodified Azure clients talk to it over AMQP 1.0, for tests, demos and laptops.

    async with LocalHub(LocalHubSettings(hubs=(HubSettings(name="events"),))) as hub:
        hub.publish("events", b"body", partition_key="a")
        EventHubConsumerClient.from_connection_string(hub.connection_string("events"), "$Default")

The way in: `connection` (with `frames` and `outlet`) does the handshake and finds the `session`; `attaching`
decides what a link may be for; `links` carry events, `management` answers `$cbs` and `$management`, both
through `assembly`. The wire format is in `codec`, `performatives` and `messages`. A hub is an `entity` with a
`log` for each partition, kept by `storage` and `disk` if asked; `addresses`, `placement` and `tokens` are the
service's rules, `faults` and `pace` its failures on demand, `namespace` what all connections share,
`server` the way to start and look.

It is not for production. Of the service it lacks TLS, web sockets, the Kafka endpoint, the schema registry,
capture, throughput units, geo-replication, retention by time, idempotent producers and partition
publishing, more than one key, roles, and the check of a token after it was accepted. Events are
acknowledged when the operating system has them, not when the disk has.
"""

from consumer.hub.entity import Placed
from consumer.hub.faults import Fault, Faults
from consumer.hub.server import LocalHub, LoggedEvent
from consumer.hub.settings import HubSettings, LocalHubSettings, ServerLimits

__all__ = [
    "Fault",
    "Faults",
    "HubSettings",
    "LocalHub",
    "LocalHubSettings",
    "LoggedEvent",
    "Placed",
    "ServerLimits",
]
