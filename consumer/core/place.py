"""Where an event stands among those of its object."""

from __future__ import annotations

from consumer.core.order import compare, is_before
from consumer.core.packed_token import BESIDE, EXACT_CODES
from consumer.events import OrderToken


class Place:
    """An object, a point in its order, and the type of the event that stands there."""

    # No __slots__: what is the same for nearly all is said once, in the class.

    object_key: bytes = b""
    """Stands for the object."""
    packed: bytes = b""
    """The order token, as `pack` gives it."""
    event_type: str = ""
    given: OrderToken | None = None
    """The order token, unless it is known from elsewhere."""

    @property
    def token(self) -> OrderToken:
        """The order token; only asked for where `packed` does not tell."""
        assert self.given is not None
        return self.given

    @property
    def is_packed(self) -> bool:
        """Whether `packed` tells all."""
        return self.packed[1] != BESIDE

    @property
    def is_exact(self) -> bool:
        """Whether the token counts something, rather than reading a clock."""
        return self.packed[0] < EXACT_CODES

    def is_before(self, other: Place) -> bool:
        """Whether both can be compared and this one is the earlier one."""
        mine, theirs = self.packed, other.packed
        if mine[1] == theirs[1] and mine[1] != BESIDE:
            return mine[0] == theirs[0] and mine < theirs
        return is_before(self.token, other.token)

    def is_twin_of(self, other: Place) -> bool:
        """Whether both stand at the same point and are of the same type."""
        if self.event_type != other.event_type:
            return False
        mine, theirs = self.packed, other.packed
        if mine[1] != BESIDE and theirs[1] != BESIDE:
            return mine == theirs
        return compare(self.token, other.token) == 0
