"""What filters may be here and may not be in Event Grid."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consumer.core.filter_keys import reads_data
from consumer.core.filters import Filter

ADVANCED_FILTERS_MAX = 25
"""Of one event subscription."""
VALUES_MAX = 25
"""Over all its advanced filters; a range counts as one."""
TEXT_MAX = 512
"""Characters."""
_KEYS = {"id", "topic", "subject", "eventtype", "dataversion"}
_KEYS_OF_CLOUD_EVENTS = {"eventid", "source", "type", "eventtypeversion"}
_NO_KEYS = {"eventtime", "metadataversion", "data"}
_EXTENSION = re.compile(r"[a-z0-9]+")


def beyond_event_grid(wanted: Filter) -> Iterator[str]:
    """What keeps an event subscription from having a filter: a half-sentence for each."""
    conditions = wanted.advanced_filters
    if len(conditions) > ADVANCED_FILTERS_MAX:
        yield f"has {len(conditions)} advanced filters, and Event Grid takes {ADVANCED_FILTERS_MAX}"
    values = sum(len(each.values) for each in conditions)
    if values > VALUES_MAX:
        yield f"has {values} values, and Event Grid takes {VALUES_MAX} over all advanced filters"
    texts = [value for each in conditions for value in each.values if isinstance(value, str)]
    longest = max(map(len, [*texts, wanted.subject_begins_with, wanted.subject_ends_with]))
    if longest > TEXT_MAX:
        yield f"has a text of {longest} characters, and Event Grid takes {TEXT_MAX}"
    for key in dict.fromkeys(each.key for each in conditions):
        if not _is_known(key):
            yield f"looks at {key}, which is no key of Event Grid's"


def _is_known(key: str) -> bool:
    folded = key.casefold()
    if (reads_data(key) and "." in key) or folded in _KEYS or folded in _KEYS_OF_CLOUD_EVENTS:
        return True
    # Any other word may be an extension attribute of CloudEvents.
    return folded not in _NO_KEYS and _EXTENSION.fullmatch(folded) is not None
