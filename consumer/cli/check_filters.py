"""What `inturn check` says of filters: each as az's arguments, and what of it Event Grid could not take."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from consumer import filter_arm, filter_az
from consumer.core.admission import TypeFilter
from consumer.core.filters import Filter
from consumer.filter_limits import beyond_event_grid
from consumer.filter_settings import FilterSettings
from consumer.filter_union import union
from consumer.settings import Settings

_CREATE = "az eventgrid event-subscription create"
_FALSE_TO_AZ = re.compile(r"\bboolequals\s+['\"]?false['\"]?(\s|$)", re.IGNORECASE)


class _Want(NamedTuple):
    """What a processor, or one side of a rule, wants of what Event Grid sends."""

    name: str
    types: tuple[str, ...]
    """At least one."""
    settings: FilterSettings | None

    @property
    def filter(self) -> Filter:
        """Its filter with its types in it, as far as they are no patterns."""
        wanted = Filter() if self.settings is None else self.settings.canonical().filter()
        types = self.types
        if wanted.included_event_types is not None:
            known = TypeFilter(types)
            types = tuple(kind for kind in wanted.included_event_types if kind.casefold() in known)
        if any(kind.endswith("*") for kind in types):
            return wanted
        return dataclasses.replace(wanted, included_event_types=types)


def _wants(settings: Settings) -> list[_Want]:
    wants = [_Want(each.name, each.hub_types, each.filter) for each in settings.processors]
    for rule in settings.expect:
        wants.append(_Want(f"after in the rule {rule.name}", rule.after.types, rule.after.filter))
        wants.append(_Want(f"expect in the rule {rule.name}", rule.expect.types, rule.expect.filter))
    # What processors emit, Event Grid never sees.
    return [want for want in wants if want.types]


def describe_filters(settings: Settings) -> Iterator[str]:
    """What would have Event Grid send what each who has a filter wants, and what all do."""
    wants = _wants(settings)
    filtered = [want for want in wants if want.settings is not None]
    for want in filtered:
        yield f"filter of {want.name}: {_CREATE} {filter_az.flags(want.filter)}".rstrip()
    if not filtered:
        return
    together = union([want.filter for want in wants])
    said = filter_az.flags(together)
    if said.words and not any(beyond_event_grid(together)):
        yield f"to receive less, have Event Grid filter for all of them: {_CREATE} {said}"


def filter_findings(settings: Settings) -> Iterator[str]:
    """What filters have that Event Grid or az could not be told."""
    for want in _wants(settings):
        if want.settings is None:
            continue
        for trouble in beyond_event_grid(want.filter):
            yield f"the filter of {want.name} {trouble}: it works here, and not in an event subscription."
        unsaid = filter_az.flags(want.filter).unsaid
        if unsaid:
            written = json.dumps(filter_arm.render(want.filter), ensure_ascii=False)
            yield f"the filter of {want.name}: {'; '.join(unsaid)}. Resource Manager would: {written}"
        if any(map(_FALSE_TO_AZ.search, want.settings.az or ())):
            yield (
                f"the filter of {want.name} has BoolEquals false, which is read as it says; az itself makes "
                "BoolEquals true of it, and BoolEquals false only of ''."
            )
