"""Between what a processor asks to be emitted and what the pipeline emits."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from consumer.core.flights import Flight
from consumer.core.stimuli import Emitted
from consumer.processor import Emission


def emitted_of(emissions: Sequence[Emission], handled: Sequence[Flight]) -> list[Emitted]:
    """What was emitted for events, with the ticket of each cause: one of the events that were handled."""
    # An internal event has the position of its cause, and is none itself.
    tickets = {ticket.position: ticket for ticket in handled if ticket.slot is not None}
    return [
        Emitted(tickets[cause.sequence_number, cause.index], type_, subject, orjson.dumps(data))
        for cause, type_, subject, data in emissions
    ]
