"""Write settings as YAML that reads back the same, with a word on where each value comes from.

Secrets are written as ``***``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretBytes, SecretStr

from consumer.config_yaml import Document, Way
from consumer.settings import Settings

HIDDEN = "***"


def render(settings: Settings, document: Document) -> str:
    """The settings as YAML, one a line, each with its line in the file, its variables, or ``default``."""
    return "".join(f"{line}\n" for line in _lines(plain(settings), (), document))


def plain(value: Any) -> Any:
    """Settings as mappings, lists and scalars, with nothing secret in them; what is None is left out."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        named = {field.alias or name: getattr(value, name) for name, field in fields}
        return {name: plain(item) for name, item in named.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, SecretStr | SecretBytes):
        return HIDDEN
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _lines(value: Any, way: Way, document: Document) -> Iterator[str]:
    indent = "  " * len(way)
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        head = f"{indent}-" if isinstance(value, list) else f"{indent}{_scalar(key)}:"
        inner = (*way, key)
        if isinstance(item, dict | list) and item:
            yield head
            yield from _lines(item, inner, document)
        else:
            yield f"{head} {_scalar(item)}  # {_origin(inner, document)}"


def _origin(way: Way, document: Document) -> str:
    names = document.variables.get(way)
    if names:
        return ", ".join(f"${{{name}}}" for name in names)
    if way in document:
        return f"line {document.place_of_value(way).line}"
    return "default"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        value = value.replace("${", "$${")
    if isinstance(value, Path):
        value = str(value)
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=100_000)
    return text.removesuffix("\n").removesuffix("\n...")
