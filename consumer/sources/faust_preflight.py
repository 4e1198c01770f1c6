"""Look at the topics before anything is read: Faust would wait in silence for one that is not there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from consumer.errors import ConfigurationError, SourceUnavailable
from consumer.sources.faust_app import client_options
from consumer.sources.faust_settings import FaustSettings

_AGAIN_S = 1.0
_UNKNOWN_TOPIC = 3
_LIMIT = "max.message.bytes"
_ANSWER_S = 5.0
_REFUSED = {29: "this client may not read about it", 17: "its name is none that Kafka takes"}
_log = structlog.get_logger("inturn.kafka")


async def partition_counts(settings: FaustSettings) -> Mapping[str, int]:
    """How many partitions each topic has; tried for `connect_timeout_s`.

    Raises `ConfigurationError` if a topic is not there, `SourceUnavailable` if no broker answers.
    """
    give_up_s = time.monotonic() + settings.connect_timeout_s
    while True:
        try:
            async with asyncio.timeout(max(give_up_s - time.monotonic(), 1.0)):
                return await _ask(settings)
        except (KafkaError, TimeoutError, OSError) as error:
            trouble = str(error) or type(error).__name__
            if time.monotonic() + _AGAIN_S > give_up_s:
                raise SourceUnavailable(
                    f"Kafka at {settings.bootstrap} does not answer: {trouble}"
                ) from error
            _log.warning("Kafka does not answer yet; trying again.", error=trouble)
            await asyncio.sleep(_AGAIN_S)


async def largest_batch(settings: FaustSettings, topic: str) -> int | None:
    """The bytes that a batch in a topic may have; None if this client is not told."""
    asked = ConfigResource(ConfigResourceType.TOPIC, topic, {_LIMIT: ""})
    try:
        async with asyncio.timeout(_ANSWER_S):
            admin = AIOKafkaAdminClient(client_id=f"{settings.group}-preflight", **client_options(settings))
            try:
                await admin.start()
                answers = await admin.describe_configs([asked])
            finally:
                await admin.close()
    except (KafkaError, TimeoutError, OSError) as error:
        why = str(error) or type(error).__name__
        _log.info("Brokers do not say how large an event may be.", topic=topic, error=why)
        return None
    resources = [each for answer in answers for each in answer.resources]
    entries = [entry for code, *_, found in resources if not code for entry in found]
    return next((int(entry[1]) for entry in entries if entry[0] == _LIMIT and entry[1]), None)


async def _ask(settings: FaustSettings) -> Mapping[str, int]:
    admin = AIOKafkaAdminClient(client_id=f"{settings.group}-preflight", **client_options(settings))
    try:
        await admin.start()
        told = await admin.describe_topics(list(settings.topics))
    finally:
        await admin.close()
    counts, findings = {}, []
    for each in told:
        name, code = each["topic"], each["error_code"]
        if code == _UNKNOWN_TOPIC or (not code and not each["partitions"]):
            findings.append(f"There is no topic {name} at {settings.bootstrap}: make it, inturn does not.")
        elif code in _REFUSED:
            findings.append(f"The topic {name} cannot be used: {_REFUSED[code]}.")
        elif code:
            raise SourceUnavailable(f"Kafka cannot say what partitions {name} has: error {code}.")
        else:
            counts[name] = len(each["partitions"])
    if findings:
        raise ConfigurationError(*findings)
    return counts
