"""What does not fit together: a processor's own settings, and those that it is used with.

A processor's `Settings` cannot see where events come from, or its deadline. They may have a method
``misfits(surroundings)`` that is told, and gives the names of settings with what is wrong about them.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from pydantic import ValidationError

from consumer.config_findings import Way
from consumer.errors import ConfigurationError
from consumer.kafka_settings import KafkaSource
from consumer.processor import Surroundings
from consumer.processor_loading import find_processor
from consumer.settings import EventHubSource, Settings


def misfits_of(settings: Settings) -> Iterator[tuple[Way, str]]:
    """Each finding as the way to the setting and what is wrong with it."""
    sources = tuple(_sources_of(settings))
    for index, processor in enumerate(settings.processors):
        try:
            model = find_processor(processor.type).settings
            own = None if model is None else model.model_validate(processor.options)
        except (ConfigurationError, ValidationError):
            continue  # said where it was found
        find = getattr(own, "misfits", None)
        for name, message in find(Surroundings(processor.deadline_s, sources)) if find is not None else ():
            yield ("processors", index, "with", name), message


def _sources_of(settings: Settings) -> Iterator[tuple[str, str]]:
    source = settings.source
    if isinstance(source, KafkaSource):
        topics = [topic for topic in (source.topic, source.rekey_topic) if topic is not None]
        yield from ((host, topic) for host in source.bootstrap.split(",") for topic in topics)
    elif isinstance(source, EventHubSource):
        try:
            secret = source.secret()
        except ConfigurationError:
            return  # likewise
        if secret is None:
            yield source.namespace or "", source.hub
            return
        for part in secret.get_secret_value().split(";"):
            name, _, value = part.partition("=")
            if name.strip().casefold() == "endpoint":
                yield urlsplit(value.strip()).netloc, source.hub
