"""Read a file of cases, or say everything that is wrong with it, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from consumer.cases.model import CaseFile
from consumer.config_file import at_places, read_document, refusal, resolve_paths
from consumer.config_findings import findings_of
from consumer.config_yaml import Flaw, Place, Way
from consumer.settings import Settings


def read_cases(path: Path, env: Mapping[str, str], settings: Settings) -> CaseFile:
    """Read a file of cases for a configuration; relative paths are taken from the file's folder.

    Raises `ConfigurationError` with every finding as ``file:line:column: setting: what is wrong``.
    """
    document = read_document(path, env, hint="deploy/team-cases.yaml is one to begin with")
    flaws = list(document.flaws)
    if not isinstance(document.value, dict):
        raise refusal(path, flaws or [Flaw(Place(1, 1), (), "should be a mapping (key: value)")])
    try:
        file = CaseFile.model_validate(document.value)
    except ValidationError as error:
        found = findings_of(error, CaseFile, document.value)
        raise refusal(path, [*flaws, *at_places(document, found)]) from None
    flaws += at_places(document, _unknown_processors(file, settings))
    if flaws:
        raise refusal(path, flaws)
    return resolve_paths(file, path.absolute().parent)


def _unknown_processors(file: CaseFile, settings: Settings) -> Iterator[tuple[Way, str]]:
    names = [processor.name for processor in settings.processors]
    for index, case in enumerate(file.cases):
        for name in case.expect:
            if name not in names:
                way = ("cases", index, "expect", name)
                yield way, f"there is no such processor; there are {', '.join(names)}"
