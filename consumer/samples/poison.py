"""What cannot be an event: ways to spoil one, each with the reason for which it must be dead-lettered.

`BODIES` spoil a whole message; `ELEMENTS` spoil one element of an array that stays valid JSON, so its
neighbours must go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from consumer.events import Reason
from consumer.samples.events import Element, body_of, element_bytes

Spoil = Callable[[Element], bytes]


def _changed(**changes: Any) -> Spoil:
    return lambda element: element_bytes(element | changes)


def _without(*names: str) -> Spoil:
    return lambda element: element_bytes(
        {name: value for name, value in element.items() if name not in names}
    )


def _with_time(time: Any) -> Spoil:
    return lambda element: element_bytes(
        element | {"time" if "specversion" in element else "eventTime": time},
    )


def _constant(text: bytes) -> Spoil:
    return lambda _: text


def _hybrid(element: Element) -> bytes:
    return element_bytes({"specversion": "1.0", "eventType": "Microsoft.Storage.BlobCreated"} | element)


def _key_twice(element: Element) -> bytes:
    """Two readers, of which one keeps the first value and the other the last, would see two ids."""
    return element_bytes(element)[:-1] + b',"id":"another-id"}'


def _half_a_pair(element: Element) -> bytes:
    """What a subject becomes when an emoji is cut in two."""
    return json.dumps(element | {"subject": "models/\ud83d"}).encode()


def _too_deep(element: Element) -> bytes:
    """Far beyond the limit, so that nobody has to argue about its edge."""
    return element_bytes(element | {"data": None}).replace(b'"data":null', b'"data":' + b"[" * 60 + b"]" * 60)


def _spoofed(element: Element) -> bytes:
    """A type that the topic's resource provider cannot raise."""
    is_storage = "/microsoft.storage/" in str(element.get("topic", element.get("source"))).casefold()
    type_ = (
        "Microsoft.MachineLearningServices.RunCompleted" if is_storage else "Microsoft.Storage.BlobCreated"
    )
    return element_bytes(element | {"type" if "specversion" in element else "eventType": type_})


ELEMENTS: tuple[tuple[str, Reason, Spoil], ...] = (
    ("a key stands twice", Reason.DUPLICATE_KEY, _key_twice),
    ("half of a surrogate pair", Reason.LONE_SURROGATE, _half_a_pair),
    ("no envelope", Reason.UNKNOWN_SCHEMA, _constant(b'{"device":"pump-7","celsius":71.5}')),
    ("both envelopes in one", Reason.HYBRID_SCHEMA, _hybrid),
    ("a number for an event", Reason.NOT_AN_OBJECT, _constant(b"42")),
    ("null for an event", Reason.NOT_AN_OBJECT, _constant(b"null")),
    ("no id", Reason.MISSING_FIELD, _without("id")),
    ("no subject", Reason.MISSING_FIELD, _without("subject")),
    ("no topic", Reason.MISSING_FIELD, _without("topic", "source")),
    ("an empty id", Reason.MISSING_FIELD, _changed(id="")),
    ("a number for an id", Reason.WRONG_TYPE, _changed(id=4_711)),
    ("an array for a subject", Reason.WRONG_TYPE, _changed(subject=["models/churn:3"])),
    ("a number for a time", Reason.WRONG_TYPE, _with_time(1_772_438_400)),
    ("slashes in the time", Reason.BAD_TIME, _with_time("2026/03/02 08:15:29.3260160")),
    ("no time at all in the time", Reason.BAD_TIME, _with_time("yesterday")),
    ("a type from elsewhere", Reason.SPOOFED_TYPE, _spoofed),
)


def _in_array(spoil: Spoil) -> Spoil:
    return lambda element: body_of([spoil(element)])


def _cut_off(element: Element) -> bytes:
    body = body_of([element_bytes(element)])
    return body[: len(body) * 2 // 3]


def _trailing_comma(element: Element) -> bytes:
    return element_bytes(element)[:-1] + b",}"


def _latin_1(element: Element) -> bytes:
    return json.dumps(element | {"subject": "models/prévision:2"}, ensure_ascii=False).encode("latin-1")


def _with_constant(constant: bytes) -> Spoil:
    """What Python and JavaScript write for a coefficient that could not be calculated."""
    return lambda element: element_bytes(element)[:-1] + b',"driftCoefficient":' + constant + b"}"


BODIES: tuple[tuple[str, Reason, Spoil], ...] = (
    ("plain text", Reason.INVALID_JSON, _constant(b"Run 42 failed, please have a look")),
    ("cut off", Reason.INVALID_JSON, _cut_off),
    ("a comma too many", Reason.INVALID_JSON, _in_array(_trailing_comma)),
    ("Latin-1", Reason.NOT_UTF8, _in_array(_latin_1)),
    ("NaN", Reason.NOT_A_NUMBER, _in_array(_with_constant(b"NaN"))),
    ("-Infinity", Reason.NOT_A_NUMBER, _in_array(_with_constant(b"-Infinity"))),
    ("too deep", Reason.TOO_DEEP, _in_array(_too_deep)),
    ("text for a body", Reason.NOT_AN_OBJECT, _constant(b'"Microsoft.Storage.BlobCreated"')),
    *((kind, reason, _in_array(spoil)) for kind, reason, spoil in ELEMENTS),
)
