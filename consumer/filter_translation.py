"""What the ways to write a filter have in common: each is translated to the canonical settings."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, NamedTuple

from consumer.core.filter_operators import Operator
from consumer.setting_rules import Finding

Way = tuple[str | int, ...]


class Translation(NamedTuple):
    """A filter in the canonical spelling, with where each part of it was written."""

    settings: dict[str, Any]
    origins: dict[Way, Way]
    """The way to a canonical setting, and the way to what it was made of."""
    flaws: list[Finding]

    def origin(self, way: Way) -> tuple[Way, Way]:
        """What a canonical setting was made of, and the rest of the way to it in there."""
        for length in range(len(way), 0, -1):
            if way[:length] in self.origins:
                return self.origins[way[:length]], way[length:]
        return (), way


_OPERATORS = {operator.casefold(): operator for operator in Operator}


def operator_named(name: str) -> Operator | str:
    """The operator that Event Grid calls so, in any case; or a sentence that says that there is none."""
    found = _OPERATORS.get(name.casefold())
    if found is not None:
        return found
    near = get_close_matches(name.casefold(), _OPERATORS, n=1)
    guess = f"; did you mean {_OPERATORS[near[0]]}?" if near else f": there are {', '.join(Operator)}"
    return f"there is no such operator{guess}"


def setting_of(operator: Operator) -> str:
    """What an operator is called in the canonical spelling: ``string_not_in`` for `StringNotIn`."""
    return operator.name.lower()
