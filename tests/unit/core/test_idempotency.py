"""The idempotency key: receivers keep it, so it must never change."""

from __future__ import annotations

import re

import msgspec
import pytest

from consumer.core.idempotency import idempotency_key
from consumer.events import ObjectId, OrderedBy, OrderToken

GOLDEN = {
    OrderToken(OrderedBy.VERSION, 3): "l2sJOtkTcUS3UgOquBxztr6MOPfGzBrn7Qd8hwgVj34",
    OrderToken(OrderedBy.SEQUENCER, "00f4"): "9AO14JftgtA8vaq3lm5tHpvfXeRhj2mSXtzotClG3RQ",
    OrderToken(OrderedBy.STATUS, (1, 17_952_624_000_000_000)): "9rvHNa6q1FtB4xywU96xMV-VTLBBqmooR7yoUxgB77E",
    OrderToken(OrderedBy.ARRIVAL, (7, 0)): "iZ6xYFZz1Pp7ka6TC2OPsSlocsKGtY1kl2iZqpD_ikI",
}


@pytest.mark.parametrize(("token", "key"), GOLDEN.items(), ids=[token.by.value for token in GOLDEN])
def test_a_key_is_the_same_in_every_version(event, token: OrderToken, key: str) -> None:
    assert idempotency_key("$Default", "deploy", event(order_token=token)) == key


def test_a_key_can_stand_in_a_header_and_in_a_file_name(event) -> None:
    assert re.fullmatch(
        r"[A-Za-z0-9_-]{43}", idempotency_key("g", "p", event(subject="\N{GRINNING FACE}/\n"))
    )


def test_a_key_differs_when_any_part_does(event) -> None:
    keys = [
        idempotency_key("g", "p", event()),
        idempotency_key("g2", "p", event()),
        idempotency_key("g", "p2", event()),
        idempotency_key("g", "p", event(), "replay"),
        idempotency_key("g", "p", event(id="other")),
        idempotency_key("g", "p", event(type="other")),
        idempotency_key("g", "p", event(subject="other")),
        idempotency_key("g", "p", event(object_id=ObjectId("other", "models/fraud"))),
        idempotency_key("g", "p", event(order_token=OrderToken(OrderedBy.VERSION, 4))),
        idempotency_key("g", "p", event(order_token=OrderToken(OrderedBy.VERSION, "3"))),
        idempotency_key("g", "p", event(order_token=OrderToken(OrderedBy.SEQUENCE_NUMBER, 3))),
        idempotency_key("g\x1fx", "p", event()),
        idempotency_key("g", "x\x1fp", event()),
    ]

    assert len(set(keys)) == len(keys)


def test_a_key_does_not_depend_on_where_the_event_was_found_or_what_became_of_it(event) -> None:
    first = event(order_token=OrderToken(OrderedBy.ARRIVAL, (7, 0)))
    again = msgspec.structs.replace(
        first,
        partition="3",
        sequence_number=4_711,
        index=2,
        enqueued_time_ms=0,
        body=b"",
        partition_key="k",
        stale=True,
        is_latest=False,
        order_value=(4_711, 2),
    )

    assert idempotency_key("g", "p", again) == idempotency_key("g", "p", first)
