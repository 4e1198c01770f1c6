"""Processors with a consumer group of their own: the configuration of each group, as if it were alone.

A group has one link to each partition, one checkpoint and one state: all processors in it go at the same
pace, as far as their queues reach, and begin at the same place. Whoever is to hang without holding up others,
or to begin elsewhere, needs a group of its own. It is then a consumer of its own in the same process: the hub
is read once more for it, which counts against the hub's limits. What processors emit stays in their group.
So do rules: what is missed is told in the first group, and in others where a processor waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from consumer.core.admission import TypeFilter
from consumer.core.expectations import MISSED
from consumer.processor_settings import ProcessorSettings
from consumer.settings import EventHubSource, Settings

SHARED = ""
"""Stands for the group that `source.consumer_group` names."""


def groups_of(settings: Settings) -> dict[str, Settings]:
    """The configuration of each group by its name, `SHARED` first unless every processor has another one."""
    members: dict[str, list[ProcessorSettings]] = {}
    for processor in sorted(settings.processors, key=lambda each: each.consumer_group is not None):
        members.setdefault(processor.consumer_group or SHARED, []).append(processor)
    first = next(iter(members), SHARED)
    return {
        group: _settings_of(settings, group, processors, is_first=group == first)
        for group, processors in members.items()
    }


def settings_of(settings: Settings, group: str | None) -> Settings | None:
    """The configuration of a group by its name in the hub, of the first one for None; None: there is none."""
    groups = groups_of(settings)
    if group is None:
        return next(iter(groups.values()))
    for name, told in groups.items():
        if group.casefold() == (name or group_name(told)).casefold():
            return told
    return None


def unheard(settings: Settings) -> Iterator[ProcessorSettings]:
    """Processors that wait for what is emitted in a group where nobody else is and nothing is expected."""
    groups = groups_of(settings)
    for told in groups.values():
        if len(groups) > 1 and len(told.processors) == 1 and not told.expect:
            yield from (each for each in told.processors if each.internal_types)


def group_name(settings: Settings) -> str:
    """The consumer group of a configuration with one; "" for a source that has none."""
    return settings.source.consumer_group if isinstance(settings.source, EventHubSource) else ""


def _settings_of(
    settings: Settings, group: str, processors: list[ProcessorSettings], *, is_first: bool
) -> Settings:
    changes: dict[str, object] = {"processors": tuple(processors)}
    if not is_first and not any(_waits_for_missed(each) for each in processors):
        changes["expect"] = ()  # else each miss would be kept, and counted, once more for nobody
    if group != SHARED:
        assert isinstance(settings.source, EventHubSource), "only this has groups: see the rules of Settings"
        begins = [each.begin for each in processors if each.begin is not None]
        own = {"consumer_group": group} | ({"start": begins[0]} if begins else {})
        changes["source"] = settings.source.model_copy(update=own)
    return settings.model_copy(update=changes)


def _waits_for_missed(processor: ProcessorSettings) -> bool:
    return MISSED.casefold() in TypeFilter(processor.internal_types)
