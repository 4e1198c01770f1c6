"""Read a configuration file into `Settings`, or say everything that is wrong with it, and where."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from consumer.config_findings import findings_of
from consumer.config_yaml import Document, Flaw, Place, SyntaxFlaw, Way
from consumer.connection_settings import Connection
from consumer.errors import ConfigurationError, ProcessorSettingsError
from consumer.filter_settings import FilterSettings
from consumer.misfits import misfits_of
from consumer.processor_loading import find_processor
from consumer.settings import Settings

FILE_MAX_BYTES = 262_144
"""A larger file is refused."""

Model = TypeVar("Model", bound=BaseModel)


class Configuration(NamedTuple):
    """What a file says, and where each setting comes from."""

    settings: Settings
    document: Document


def load_settings(path: Path, env: Mapping[str, str]) -> Settings:
    """Read a file; `env` has the values of ``${NAME}``. Relative paths are taken from the file's folder.

    Raises `ConfigurationError` with every finding as ``file:line:column: setting: what is wrong``.
    """
    return read_configuration(path, env).settings


def read_configuration(path: Path, env: Mapping[str, str]) -> Configuration:
    """Like `load_settings`, and tells where settings come from."""
    document = read_document(path, env)
    settings, flaws = _validate(document, path.absolute().parent)
    if settings is None or flaws:
        raise refusal(path, flaws)
    return Configuration(settings, document)


_BEGIN_WITH = "`inturn config init` prints one to begin with"


def read_document(path: Path, env: Mapping[str, str], *, hint: str = _BEGIN_WITH) -> Document:
    """Read a YAML file; flaws are in the document. `hint` tells whoever has none how to come by one.

    Raises `ConfigurationError` if it is no YAML at all.
    """
    try:
        return Document(_read_text(path, hint), env)
    except SyntaxFlaw as error:
        raise refusal(path, [error.flaw]) from None


def refusal(path: Path, flaws: Iterable[Flaw]) -> ConfigurationError:
    """The error that tells all flaws of a file, in the order of their places."""
    in_order = sorted(dict.fromkeys(flaws), key=lambda flaw: (flaw.place, len(flaw.way)))
    return ConfigurationError(*(_sentence(path, flaw) for flaw in in_order))


def _read_text(path: Path, hint: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no such file; {hint}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from None
    if len(content) > FILE_MAX_BYTES:
        raise ConfigurationError(f"{path}: larger than {FILE_MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        flaw = Flaw(Place(before.count(b"\n") + 1, column), (), "this is not UTF-8")
        raise refusal(path, [flaw]) from None


def _validate(document: Document, folder: Path) -> tuple[Settings | None, list[Flaw]]:
    flaws = list(document.flaws)
    if not isinstance(document.value, dict):
        return None, flaws or [Flaw(Place(1, 1), (), "should be a mapping (key: value)")]
    data = _without_nulls(document.value)
    flaws += at_places(document, _prepare_processors(data, folder))
    try:
        settings = resolve_paths(Settings.model_validate(data), folder)
    except ValidationError as error:
        return None, flaws + list(at_places(document, findings_of(error, Settings, data)))
    flaws += at_places(document, _secret_findings(settings, data))
    flaws += at_places(document, _filter_findings(settings))
    flaws += at_places(document, misfits_of(settings))
    return settings, flaws


def _without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    """A key with nothing behind it is as good as none, but for a processor's own settings."""
    kept: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            kept[key] = value if key == "with" else _without_nulls(value)
        elif isinstance(value, list):
            kept[key] = [_without_nulls(item) if isinstance(item, dict) else item for item in value]
        elif value is not None:
            kept[key] = value
    return kept


def _prepare_processors(data: dict[str, Any], folder: Path) -> Iterator[tuple[Way, str]]:
    """Validate each processor's own settings and put them in the place of what was written."""
    processors = data.get("processors")
    for index, processor in enumerate(processors if isinstance(processors, list) else ()):
        if not isinstance(processor, dict) or not isinstance(processor.get("type"), str):
            continue
        way = ("processors", index)
        if ":" in processor["type"] and str(folder) not in sys.path:
            # A processor of one's own lies beside the configuration. At the end, so that it hides nothing.
            sys.path.append(str(folder))
        try:
            found = find_processor(processor["type"])
        except ProcessorSettingsError as error:
            yield from (((*way, "type"), finding) for finding in error.findings)
            continue
        options = processor.get("with", {})
        if not isinstance(options, dict):
            continue
        if found.settings is None:
            if options:
                yield (*way, "with"), f"{processor['type']} takes no settings"
            continue
        try:
            own = resolve_paths(found.settings.model_validate(options), folder)
        except ValidationError as error:
            yield from (
                ((*way, "with", *at), message) for at, message in findings_of(error, found.settings, options)
            )
        else:
            processor["with"] = own.model_dump(by_alias=True, exclude_unset=True)


def _secret_findings(settings: Settings, data: dict[str, Any]) -> Iterator[tuple[Way, str]]:
    for name in ("source", "state", "dead_letters"):
        section = getattr(settings, name)
        if name in data and isinstance(section, Connection):
            try:
                section.secret()
            except ConfigurationError as error:
                yield from (((name, "connection_string_file"), finding) for finding in error.findings)


def _filter_findings(settings: Settings) -> Iterator[tuple[Way, str]]:
    filters: dict[Way, FilterSettings | None] = {
        ("processors", index): each.filter for index, each in enumerate(settings.processors)
    }
    for index, rule in enumerate(settings.expect):
        filters["expect", index, "after"] = rule.after.filter
        filters["expect", index, "expect"] = rule.expect.filter
    for way, each in filters.items():
        if each is not None and each.arm_file is not None:
            try:
                each.canonical()
            except ConfigurationError as error:
                yield from (((*way, "filter", "arm_file"), finding) for finding in error.findings)


def resolve_paths(model: Model, folder: Path) -> Model:
    """The same settings with every relative path taken from `folder`, and ~ from the home folder."""
    changed = {
        name: new
        for name, old in ((name, getattr(model, name)) for name in type(model).model_fields)
        if (new := _resolved(old, folder)) is not old
    }
    return model.model_copy(update=changed) if changed else model


def _resolved(value: Any, folder: Path) -> Any:
    if isinstance(value, BaseModel):
        return resolve_paths(value, folder)
    if isinstance(value, Path):
        try:
            return folder / value.expanduser()
        except RuntimeError:  # no home folder
            return folder / value
    if isinstance(value, tuple | list) and any(isinstance(item, BaseModel | Path) for item in value):
        return type(value)(_resolved(item, folder) for item in value)
    if isinstance(value, dict) and any(isinstance(item, BaseModel | Path) for item in value.values()):
        return {key: _resolved(item, folder) for key, item in value.items()}
    return value


def at_places(document: Document, findings: Iterable[tuple[Way, str]]) -> Iterator[Flaw]:
    """Findings about the values of a document, each where it belongs in the file."""
    spoilt = {flaw.way for flaw in document.flaws}
    for way, message in findings:
        if way in spoilt:
            continue  # A variable that is missing there has been reported.
        if message == "is missing":
            place = document.place_of_key(way if way in document else way[:-1])
        elif message.startswith("there is no such setting"):
            place = document.place_of_key(way)
        else:
            place = document.place_of_value(way)
        yield Flaw(place, way, message)


def _sentence(path: Path, flaw: Flaw) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in flaw.way).removeprefix(
        "."
    )
    where = f"{path}:{flaw.place.line}:{flaw.place.column}: "
    return f"{where}{steps}: {flaw.message}" if steps else f"{where}{flaw.message}"
