"""What `inturn check` says of filters: each as az's arguments, and what of it Event Grid could not take."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator

from consumer import filter_arm, filter_az
from consumer.core.admission import TypeFilter
from consumer.core.filters import Filter
from consumer.filter_limits import beyond_event_grid
from consumer.filter_union import union
from consumer.processor_settings import ProcessorSettings
from consumer.settings import Settings

_CREATE = "az eventgrid event-subscription create"
_FALSE_TO_AZ = re.compile(r"\bboolequals\s+['\"]?false['\"]?(\s|$)", re.IGNORECASE)


def describe_filter(processor: ProcessorSettings) -> Iterator[str]:
    """What would have Event Grid send what a processor wants, if that has a filter."""
    if processor.filter is not None and processor.hub_types:
        yield f"filter of {processor.name}: {_CREATE} {filter_az.flags(_wanted(processor))}".rstrip()


def filter_findings(settings: Settings) -> Iterator[str]:
    """What filters have that Event Grid or az could not be told."""
    for each in settings.processors:
        if each.filter is None or not each.hub_types:  # what processors emit, Event Grid never sees
            continue
        wanted = _wanted(each)
        for trouble in beyond_event_grid(wanted):
            yield f"the filter of {each.name} {trouble}: it works here, and not in an event subscription."
        unsaid = filter_az.flags(wanted).unsaid
        if unsaid:
            written = json.dumps(filter_arm.render(wanted), ensure_ascii=False)
            yield f"the filter of {each.name}: {'; '.join(unsaid)}. Resource Manager would: {written}"
        if any(map(_FALSE_TO_AZ.search, each.filter.az or ())):
            yield (
                f"the filter of {each.name} has BoolEquals false, which is read as it says; az itself makes "
                "BoolEquals true of it, and BoolEquals false only of ''."
            )


def describe_union(settings: Settings) -> Iterator[str]:
    """What Event Grid could keep back for all processors together, so that it need not be sent at all."""
    if not any(each.filter for each in settings.processors):
        return
    wanted = [_wanted(each) for each in settings.processors if each.hub_types]
    together = union(wanted) if wanted else Filter()
    said = filter_az.flags(together)
    if said.words and not any(beyond_event_grid(together)):
        yield f"to receive less, have Event Grid filter for all of them: {_CREATE} {said}"


def _wanted(processor: ProcessorSettings) -> Filter:
    """The filter of a processor with its types in it, as far as they are no patterns."""
    wanted = Filter() if processor.filter is None else processor.filter.canonical().filter()
    types = processor.hub_types
    if wanted.included_event_types is not None:
        known = TypeFilter(types)
        types = tuple(kind for kind in wanted.included_event_types if kind.casefold() in known)
    if any(kind.endswith("*") for kind in types):
        return wanted
    return dataclasses.replace(wanted, included_event_types=types)
