"""Find and make processors by the `type` that the configuration names.

A type is the name of an entry point in the group ``inturn.processors``, or ``module:attribute``. It leads
to a class or to an async function. A class that has `Settings`, a pydantic model, is made as
``Class(Settings(**options))``; any other class is made without arguments and takes no options. An async
function is the processor itself and takes none either.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from consumer.config_findings import findings_of
from consumer.errors import ConfigurationError, ProcessorSettingsError

GROUP = "inturn.processors"


@dataclass(frozen=True, slots=True)
class ProcessorType:
    """What a `type` leads to."""

    name: str
    factory: Any
    """A class, or an async function."""
    settings: type[BaseModel] | None
    """The model of its options; None: it takes no options."""

    def make(self, options: Mapping[str, Any]) -> object:
        """Make the processor. Raises `ProcessorSettingsError`."""
        if options and self.settings is None:
            raise ProcessorSettingsError(f"{self.name}: takes no settings, so `with` has to be empty")
        if inspect.iscoroutinefunction(self.factory):
            return self.factory
        try:
            arguments = [] if self.settings is None else [self.settings.model_validate(dict(options))]
            made: object = self.factory(*arguments)
        except ConfigurationError:
            raise
        except ValidationError as error:
            found = findings_of(error, self.settings or BaseModel, options)
            raise ProcessorSettingsError(
                *(f"{self.name}: {'.'.join(map(str, way))}: {message}" for way, message in found)
            ) from None
        except Exception as error:
            raise ProcessorSettingsError(f"{self.name}: cannot be made: {_said(error)}") from error
        return made


def load_processor(type_: str, options: Mapping[str, Any]) -> object:
    """Find and make a processor. Raises `ProcessorSettingsError` with every finding."""
    return find_processor(type_).make(options)


@cache
def known_processors() -> dict[str, str]:
    """The types that can be named, with the ``module:attribute`` of each; inturn's own go before others."""
    found = {point.name: point.value for point in entry_points(group=GROUP)}
    try:
        own = {
            point.name: point.value for point in distribution("inturn").entry_points if point.group == GROUP
        }
    except PackageNotFoundError:
        # A checkout that was never installed.
        project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
        own = project["project"]["entry-points"][GROUP]
    return {**found, **own}


def find_processor(type_: str) -> ProcessorType:
    """Import what a type leads to and see that it can be a processor. Raises `ProcessorSettingsError`."""
    target = type_ if ":" in type_ else known_processors().get(type_)
    if target is None:
        near = get_close_matches(type_, known_processors(), n=1)
        guess = f"did you mean {near[0]}? There" if near else "there"
        raise ProcessorSettingsError(
            f"there is no such processor; {guess} are {', '.join(sorted(known_processors()))}, "
            "and your own as module:attribute"
        )
    factory = _import(target)
    _check_shape(factory, target)
    settings = getattr(factory, "Settings", None) if inspect.isclass(factory) else None
    if settings is not None and not (inspect.isclass(settings) and issubclass(settings, BaseModel)):
        raise ProcessorSettingsError(f"{target}.Settings is not a pydantic model")
    return ProcessorType(type_, factory, settings)


def _import(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        found: Any = import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except Exception as error:
        # Importing runs somebody's code: whatever it raises is a finding about that processor.
        raise ProcessorSettingsError(f"{target} cannot be imported: {_said(error)}") from error
    return found


def _check_shape(factory: Any, target: str) -> None:
    if inspect.iscoroutinefunction(factory):
        return
    if not inspect.isclass(factory):
        raise ProcessorSettingsError(f"{target} is neither a class nor an async function")
    call = next((vars(base)["__call__"] for base in factory.__mro__ if "__call__" in vars(base)), None)
    if not any(map(inspect.iscoroutinefunction, (call, getattr(factory, "process_batch", None)))):
        raise ProcessorSettingsError(
            f"{target} has neither `async def __call__` nor `async def process_batch`"
        )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
