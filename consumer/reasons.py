"""Why an event goes no further: the closed list."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an event was ignored or dead-lettered: a closed list, safe as a metric label."""

    __hash__ = str.__hash__  # an enumeration's own is slow, and is not that of the text it equals

    # ignored
    TOPIC = "topic"
    TYPE = "type"
    CONTROL = "control"
    FILTER = "filter"
    """Its type is wanted, and the filters of all who want it refuse it."""
    # dead-lettered by decoding
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_ELEMENTS = "too_many_elements"
    INVALID_JSON = "invalid_json"
    NOT_UTF8 = "not_utf8"
    LONE_SURROGATE = "lone_surrogate"
    NOT_A_NUMBER = "not_a_number"
    DUPLICATE_KEY = "duplicate_key"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_SCHEMA = "unknown_schema"
    HYBRID_SCHEMA = "hybrid_schema"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_TIME = "bad_time"
    # dead-lettered by admission
    SPOOFED_TYPE = "spoofed_type"
    # dead-lettered by a processor
    REJECTED = "rejected"
    RETRIES_SPENT = "retries_spent"
    PARKED = "parked"
    """An earlier event of the object was put aside by the same processor, and the order is to be kept."""
