"""Decide which events are ours.

The topic check is a filter, not authentication: whoever may send to the hub can write any topic. What it
keeps out is what reaches the hub by mistake, and types that their topic's provider cannot raise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from consumer.events import Event, Outcome, Reason

_CONTROL_TYPES = frozenset(
    {
        "microsoft.eventgrid.subscriptionvalidationevent",
        "microsoft.eventgrid.subscriptiondeletedevent",
    }
)


INTERNAL = "inturn."
"""How the types of internal events begin, case-folded: `consumer.processor` says what these are."""

_WITHOUT_PROVIDER = ("microsoft.resources.", "microsoft.resourcenotifications.", "microsoft.policyinsights.")
"""Types of Resource Manager and Policy, which are about a subscription or a resource group."""


class Verdict(NamedTuple):
    """Why an event goes no further."""

    outcome: Outcome
    """`IGNORED` or `DEAD_LETTERED`."""
    reason: Reason
    error: str


class TypeFilter:
    """A set of event types, compared without regard to case; one that ends with ``*`` is a prefix."""

    def __init__(self, patterns: Iterable[str]) -> None:
        folded = [pattern.casefold() for pattern in patterns]
        self.exact = frozenset(pattern for pattern in folded if not pattern.endswith("*"))
        self.prefixes = tuple(pattern[:-1] for pattern in folded if pattern.endswith("*"))

    def __contains__(self, event_type: str) -> bool:
        """Whether a type (case-folded) is in the set."""
        return event_type in self.exact or event_type.startswith(self.prefixes)


def fold_topic(topic: str) -> str:
    """A resource id in the form in which it is compared: whole, case-folded, no slash at the end."""
    return topic.casefold().rstrip("/")


class Admission:
    """The gate behind decoding. `topics` None means any; `types` None means any."""

    def __init__(self, topics: Iterable[str] | None, types: Iterable[str] | None) -> None:
        self._topics = None if topics is None else frozenset(map(fold_topic, topics))
        self._types = None if types is None else TypeFilter(types)

    def check(self, event: Event, event_kind: object) -> Verdict | None:
        """Give the reason to go no further, or None to go on.

        `event_kind` is the application property ``aeg-event-type``, None where there is none.
        """
        if event_kind is not None and str(event_kind).casefold() != "notification":
            return Verdict(Outcome.IGNORED, Reason.CONTROL, "a control event of Event Grid")
        return self.judge(event.object_topic, event.type)

    def judge(self, topic: str, spelt_type: str) -> Verdict | None:
        """Give the reason that lies in the topic (case-folded) and the type, or None."""
        event_type = spelt_type.casefold()
        if event_type in _CONTROL_TYPES:
            return Verdict(Outcome.IGNORED, Reason.CONTROL, "a control event of Event Grid")
        if self._topics is not None and topic.rstrip("/") not in self._topics:
            return Verdict(Outcome.IGNORED, Reason.TOPIC, "the topic is not in admission.topics")
        if event_type.startswith(INTERNAL):
            message = f"{spelt_type[:200]} is the type of an internal event, and those come from no hub"
            return Verdict(Outcome.DEAD_LETTERED, Reason.SPOOFED_TYPE, message)
        if not _may_raise(topic, event_type):
            message = f"{spelt_type[:200]} cannot come from the topic's resource provider"
            return Verdict(Outcome.DEAD_LETTERED, Reason.SPOOFED_TYPE, message)
        if self._types is not None and event_type not in self._types:
            return Verdict(Outcome.IGNORED, Reason.TYPE, "no processor wants the type")
        return None


def _may_raise(topic: str, event_type: str) -> bool:
    """Whether the topic's provider may raise the type; only Microsoft's types are held to it.

    Anybody can publish ``Microsoft.Storage.BlobCreated`` to a custom topic.
    """
    if not event_type.startswith("microsoft."):
        return True
    segments = topic.split("/")
    if "providers" not in segments:
        # The topic is a subscription or a resource group.
        return event_type.startswith(_WITHOUT_PROVIDER)
    provider = segments[segments.index("providers") + 1 :][:1]
    return bool(provider) and event_type.startswith(f"{provider[0]}.")
