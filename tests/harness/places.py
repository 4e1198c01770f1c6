"""Places in the order of objects, given by their tokens."""

from __future__ import annotations

from typing import TypeVar

from consumer.core.digests import XXH3
from consumer.core.packed_token import pack
from consumer.core.place import Place
from consumer.events import ObjectId, OrderToken

PlaceT = TypeVar("PlaceT", bound=Place)


def object_key(object_id: ObjectId) -> bytes:
    """The digest that stands for an object in all new state."""
    return XXH3.object_key(*object_id)


def placed(place: PlaceT, key: bytes, token: OrderToken, event_type: str) -> PlaceT:
    """Give a place its object, its token and its type."""
    place.object_key = key
    place.packed = pack(token)
    place.event_type = event_type
    place.given = token
    return place


def place_of(key: bytes, token: OrderToken, event_type: str) -> Place:
    """A place that is given by its token."""
    return placed(Place(), key, token, event_type)
