"""A local Event Hubs: the unmodified Azure clients talk to it over AMQP 1.0, for tests, demos and laptops.

    connection      bytes, handshake, frames          codec, performatives, messages: the wire format
    session, links  credit, windows, events           management: `$cbs` and `$management`
    entity, log     hubs, partitions, retention       tokens, addresses, placement: the service's rules
    namespace       what connections share            faults, pace: failures on demand
    server          start, stop, publish, look        settings

It is not for production. It has no TLS, no Kafka endpoint, no schema registry, no capture, no
throughput units, no geo-replication, no idempotent producers, and knows one key at most.
"""

from consumer.hub.faults import Fault, Faults
from consumer.hub.server import LocalHub, LoggedEvent
from consumer.hub.settings import HubSettings, LocalHubSettings, ServerLimits

__all__ = ["Fault", "Faults", "HubSettings", "LocalHub", "LocalHubSettings", "LoggedEvent", "ServerLimits"]
