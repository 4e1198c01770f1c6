"""`inturn check`: what is configured, and with ``--deep`` whether it can be reached.

Exit codes: 0 fine; 1 findings; 75 something cannot be reached; 78 the configuration is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from consumer.cli.check_filters import describe_filters, filter_findings
from consumer.cli.check_placement import look
from consumer.cli.check_processors import processor_findings
from consumer.cli.config import DEFAULT_CONFIG, ConfigOption
from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.composition import catalogue_of, keying_of, running_processor
from consumer.config_file import load_settings
from consumer.consumer_groups import groups_of, unheard
from consumer.core.admission import TypeFilter
from consumer.errors import CorruptState, TemporaryError
from consumer.events import PartitionId
from consumer.kafka_settings import KafkaSource
from consumer.opening import open_checkpoints, open_dead_letters, open_eventhub, open_log
from consumer.settings import BlobStore, EventHubSource, Settings
from consumer.telemetry.logs import configure_logging


def check(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also ask the hub and the stores; changes nothing.")
    ] = False,
) -> None:
    """Check the configuration, say what it means, and warn of what will surprise."""
    settings = load_settings(config, os.environ)
    for line in _describe(settings):
        typer.echo(line)
    findings = [*_surprises(settings), *processor_findings(settings), *filter_findings(settings)]
    code = ExitCode.FINE
    if deep:
        # Of what the clients say in between, only what nobody else would say.
        logging = configure_logging(level="error")
        try:
            deep_findings, code = run_async(_look(settings))
        finally:
            logging.close()
        findings += deep_findings
    for finding in dict.fromkeys(findings):  # the two stores may be one, and away
        typer.echo(f"finding: {finding}")
    if not findings and code is ExitCode.FINE:
        typer.echo("fine")
    raise typer.Exit(code or (ExitCode.FINDINGS if findings else ExitCode.FINE))


def _describe(settings: Settings) -> Iterator[str]:
    source = settings.source
    if isinstance(source, EventHubSource):
        where = source.namespace or "the connection string's namespace"
        yield f"source: hub {source.hub} at {where}, consumer group {source.consumer_group}"
    elif isinstance(source, KafkaSource):
        yield f"source: topic {source.topic} at {source.bootstrap}, group {source.group}, {source.placement}"
    else:
        yield f"source: files {', '.join(map(str, source.paths))}"
    yield f"state: {settings.state.type}; dead letters: {settings.dead_letters.type}"
    topics = settings.admission.topics
    yield f"topics: {'any' if topics == 'any' else len(topics)}; types: {_types(settings.admitted_types)}"
    catalogue = catalogue_of(settings)
    for each in settings.processors:
        running_processor(each, "check")  # a processor that cannot be made is an error of the configuration
        own = "" if each.consumer_group is None else f", consumer group {each.consumer_group}"
        yield f"processor {each.name}: {each.type}, {each.delivery}, {_types(each.types)}{own}"
    yield from describe_filters(settings)
    for event_type in settings.admitted_types or ():
        if not event_type.endswith("*"):
            yield f"order of {event_type}: {catalogue.family(event_type.casefold()).name}"


def _types(types: tuple[str, ...] | None) -> str:
    return "all" if types is None or "*" in types else ", ".join(types)


def _surprises(settings: Settings) -> Iterator[str]:
    """What is allowed and rarely meant."""
    if settings.admission.topics == "any":
        yield "admission.topics is any: events of every resource are taken, whoever sends them to the hub."
    if settings.state.type == "memory":
        yield "state.type is memory: after every start everything that the hub keeps is read again."
    if settings.admission.types is not None:
        for each in settings.processors:
            admitted = TypeFilter(settings.admission.types)
            unseen = [kind for kind in each.hub_types if kind[-1] != "*" and kind.casefold() not in admitted]
            if unseen:
                yield f"processor {each.name} waits for {', '.join(unseen)}: admission.types leaves it out."
    for each in unheard(settings):
        yield (
            f"processor {each.name} waits for {', '.join(each.internal_types)}: what is emitted stays in its "
            "consumer group, where nobody else is and nothing is expected."
        )
    source = settings.source
    if (
        isinstance(source, EventHubSource)
        and isinstance(settings.state, BlobStore)
        and source.hub != source.hub.lower()
    ):
        yield (
            f"the hub's name {source.hub} has capitals: checkpoint blobs are filed in lower case, so write "
            f"{source.hub.lower()} in KEDA's scaler, or it counts every event as unread."
        )


async def _look(settings: Settings) -> tuple[list[str], ExitCode]:
    """Ask what can be asked. What cannot be reached is a finding, and the others are still asked."""
    findings: list[str] = []
    code = ExitCode.FINE
    async with AsyncExitStack() as stack:
        checkpoints = await stack.enter_async_context(open_checkpoints(settings.state))
        letters = await stack.enter_async_context(open_dead_letters(settings.dead_letters))
        stored: dict[PartitionId, int] = {}
        try:
            await checkpoints.probe()
            stored = {name: at.sequence_number for name, at in await checkpoints.partitions()}
            typer.echo("state: reached, and may be written")
        except (TemporaryError, CorruptState) as error:
            findings.append(str(error))
            code = ExitCode.TEMPORARY
        try:
            await letters.probe()
            typer.echo(f"dead letters: {await letters.count() if letters.is_indexed else 'reached'}")
        except (TemporaryError, CorruptState) as error:
            findings.append(str(error))
            code = ExitCode.TEMPORARY
        if isinstance(settings.source, KafkaSource):
            kafka_findings, code = await _look_at_kafka(settings, stored, code)
            return [*findings, *kafka_findings], code
        for group, told in groups_of(settings).items():
            if not isinstance(told.source, EventHubSource):
                continue
            if group:
                typer.echo(f"consumer group {group}:")
            source, origin = await stack.enter_async_context(open_eventhub(told.source, checkpoints))
            try:
                hub = await source.probe()
            except (TemporaryError, CorruptState) as error:
                findings.append(str(error))
                code = ExitCode.TEMPORARY
                continue
            for each in hub.partitions:
                name = PartitionId(*(part.lower() for part in origin.partition(each.partition)))
                place = f"{group}/{each.partition}" if group else each.partition
                findings += _partition_findings(place, each.begin, each.newest, stored.get(name))
        if isinstance(settings.source, EventHubSource) and code is ExitCode.FINE:
            findings += await _look_at_placement(settings)
    return findings, code


async def _look_at_kafka(
    settings: Settings, stored: dict[PartitionId, int], code: ExitCode
) -> tuple[list[str], ExitCode]:
    """Ask the topics."""
    async with open_log(settings.source) as (log, origin):
        try:
            extents = await log.extents()
        except TemporaryError as error:
            return [str(error)], ExitCode.TEMPORARY
        findings: list[str] = []
        for each in extents:
            name = PartitionId(*(part.lower() for part in origin.partition(each.partition)))
            findings += _partition_findings(each.partition, each.begin, each.newest, stored.get(name))
    findings += await _look_at_placement(settings)
    return findings, code


async def _look_at_placement(settings: Settings) -> list[str]:
    """Whether the events of an object lie together in the source itself, before anybody re-keys them."""
    source = settings.source
    is_rekeyed = isinstance(source, KafkaSource) and source.rekey_topic is not None
    if is_rekeyed:
        source = source.model_copy(update={"placement": "keyed", "rekey_topic": None})
    async with open_log(source) as (log, _):
        return await look(log, keying_of(settings), is_rekeyed=is_rekeyed)


def _partition_findings(partition: str, begin: int, newest: int, checkpoint: int | None) -> Iterator[str]:
    if checkpoint is None:
        kept = f"events {begin} to {newest}" if 0 <= begin <= newest else "no events"
        typer.echo(f"partition {partition}: no checkpoint; {kept}")
        return
    typer.echo(f"partition {partition}: checkpoint {checkpoint} of {newest}, lag {newest - checkpoint}")
    if checkpoint > newest:
        yield (
            f"partition {partition}: the checkpoint {checkpoint} is beyond the newest event {newest}: "
            "the hub was made anew, or the checkpoint belongs to another one."
        )
    elif checkpoint + 1 < begin:
        yield (
            f"partition {partition}: events {checkpoint + 1} to {begin - 1} left the hub unread; "
            "its retention is shorter than inturn was behind."
        )
