"""Read YAML into plain values, and remember where each of them stood.

Scalars are read as YAML 1.2 does: ``on``, ``yes``, ``12:30`` and ``2026-11-21`` are text, and ``010`` is not
eight. A setting that wants a boolean still understands yes and no. Keys are always text. A key that is
written twice is an error here; YAML parsers commonly take the last. ``${NAME}`` and ``${NAME:default}`` are
replaced after parsing, so that a value cannot bring structure with it; ``$${`` stands for ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

VALUES_MAX = 20_000
"""Values in a file, aliases spelled out; a file with more is refused."""

Way = tuple[str | int, ...]
"""The keys and indices that lead to a value."""


class Place(NamedTuple):
    """Where something stands, both counted from 1."""

    line: int
    column: int


class Flaw(NamedTuple):
    """Something wrong, and where."""

    place: Place
    way: Way
    message: str


class SyntaxFlaw(Exception):
    """The text is not YAML, or more of it than is allowed; carries the one `Flaw`."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.flaw = Flaw(place, (), message)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way to begin without YAML 1.1's


_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})|0x[0-9a-fA-F]{1,15}", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        _TAG + _name, re.compile(f"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
    )

_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^}]*))?\})?")


class Document:
    """The values of one file: `value`, where each stands, and what is wrong so far (`flaws`)."""

    def __init__(self, text: str, env: Mapping[str, str]) -> None:
        """Parse. Raises `SyntaxFlaw` for what cannot be parsed at all; everything else is in `flaws`."""
        self.flaws: list[Flaw] = []
        self.variables: dict[Way, tuple[str, ...]] = {}
        """The environment variables that each value was made from."""
        self._env = env
        self._values: dict[Way, Place] = {}
        self._keys: dict[Way, Place] = {}
        self._open: set[int] = set()
        self._read_count = 0
        try:
            root = _compose(text)
            if root is None:
                raise SyntaxFlaw(
                    Place(1, 1), "the file is empty: `inturn config init` prints one to begin with"
                )
            self.value = self._read(root, ())
        except RecursionError:
            raise SyntaxFlaw(Place(1, 1), "values are nested too deeply") from None

    def __contains__(self, way: object) -> bool:
        return way in self._values

    def place_of_value(self, way: Way) -> Place:
        """Where a value begins, or the nearest one around it."""
        while way not in self._values:
            way = way[:-1]
        return self._values[way]

    def place_of_key(self, way: Way) -> Place:
        """Where a value's key is, or the value if it has none."""
        return self._keys.get(way) or self.place_of_value(way)

    def _read(self, node: yaml.Node, way: Way) -> Any:
        self._values[way] = _place(node.start_mark)
        self._read_count += 1
        if self._read_count > VALUES_MAX:
            raise SyntaxFlaw(_place(node.start_mark), f"more than {VALUES_MAX} values")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, way)
        if id(node) in self._open:
            return self._flaw(node, way, "an alias (*) for something that it is a part of")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
                return self._mapping(node, way)
            if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
                return [self._read(item, (*way, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))
        return self._flaw(node, way, "a tag (!) has no meaning here; put text that begins with ! in quotes")

    def _mapping(self, node: yaml.MappingNode, way: Way) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: list[yaml.MappingNode] = []
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                merged += self._merged(value, way)
            elif not isinstance(key, yaml.ScalarNode):
                self._flaw(key, way, "a key has to be text")
            elif key.value in own:
                first = self._keys[(*way, key.value)].line
                self._flaw(key, (*way, key.value), f"this key is here twice; the first is in line {first}")
            else:
                self._keys[(*way, key.value)] = _place(key.start_mark)
                own[key.value] = self._read(value, (*way, key.value))
        for other in merged:
            for name, value in self._mapping(other, (*way, "<<")).items():
                if name not in own:
                    self._adopt((*way, "<<", name), (*way, name))
                    own[name] = value
        return own

    def _merged(self, value: yaml.Node, way: Way) -> list[yaml.MappingNode]:
        nodes = value.value if isinstance(value, yaml.SequenceNode) else [value]
        good = [n for n in nodes if isinstance(n, yaml.MappingNode) and id(n) not in self._open]
        if len(good) < len(nodes):
            self._flaw(value, way, "<< takes an alias (*) of a mapping, or a list of such aliases")
        return good

    def _adopt(self, old: Way, new: Way) -> None:
        """Let what was merged be found at the place where it is now."""
        for table in (self._values, self._keys, self.variables):
            for way in [way for way in table if way[: len(old)] == old]:
                table[(*new, *way[len(old) :])] = table.pop(way)  # type: ignore[assignment]

    def _scalar(self, node: yaml.ScalarNode, way: Way) -> Any:
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text, 16) if text.lower().startswith("0x") else int(text)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
                case "str" | "merge":
                    return self._interpolated(node, text, way)
        except (ValueError, KeyError):
            return self._flaw(node, way, f"is not what its tag !!{kind} says")
        return self._flaw(node, way, "a tag (!) has no meaning here; put text that begins with ! in quotes")

    def _interpolated(self, node: yaml.ScalarNode, text: str, way: Way) -> str:
        used: list[str] = []

        def replace(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name, default = match["name"], match["default"]
            if name is None:
                self._flaw(
                    node, way, "write ${NAME} or ${NAME:default} for a variable, $${ for the characters ${"
                )
                return ""
            used.append(name)
            value = self._env.get(name, default)
            if value is None:
                self._flaw(node, way, f"the environment variable {name} is not set, and there is no default")
                return ""
            return value

        result = _VARIABLE.sub(replace, text)
        if used:
            self.variables[way] = tuple(used)
        return result

    def _flaw(self, node: yaml.Node, way: Way, message: str) -> None:
        self.flaws.append(Flaw(_place(node.start_mark), way, message))


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _compose(text: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        raise SyntaxFlaw(place, f"the character U+{ord(text[error.position]):04X} is not allowed") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(mark) if mark else Place(1, 1)
        line = text.splitlines()[place.line - 1] if place.line <= len(text.splitlines()) else ""
        # Not chained: PyYAML quotes the line, which may hold a secret.
        raise SyntaxFlaw(place, _explain(error.problem or "", line)) from None


def _explain(problem: str, line: str) -> str:
    """What PyYAML found, in words that quote nothing from the file."""
    if "'\\t'" in problem or line[: len(line) - len(line.lstrip())].count("\t"):
        return "a tab: YAML is indented with spaces"
    if "undefined alias" in problem:
        return "an alias (*) of nothing; put text that begins with * in quotes"
    if "tag" in problem:
        return "a tag (!) that cannot be read; put text that begins with ! in quotes"
    if "a single document" in problem:
        problem = "a second document (---); a configuration is one"
    if "${" in line and ("{" in problem or "}" in problem or "mapping values" in problem):
        return "this is no YAML: put ${…} in quotes here"
    known = re.sub(r"'[^'<>,\[\]{}:?-]*'", "something", problem)
    return f"this is no YAML: {known}"
