"""Read what Azure writes with keys of unstable case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def field(data: Any, *path: str) -> Any:
    """Read a value from event data, without regard to the case of the keys; None if it is not there.

    Azure writes ``modelName`` and ``ModelName``, sometimes within one event.
    """
    for name in path:
        if not isinstance(data, (dict, Mapping)):  # what it nearly always is comes first: that is fast
            return None
        if name in data:
            data = data[name]
            continue
        data = _folded(data, name.casefold())
    return data


def _folded(data: Mapping[str, Any], name: str) -> Any:
    length = len(name)
    for key in data:
        # Most keys are told apart by their length, which only folding letters beyond ASCII changes.
        if (len(key) == length or not key.isascii()) and key.casefold() == name:
            return data[key]
    return None
