"""The filter of a processor: what an event has to be like for the processor to be given it.

It can be written in the canonical spelling, as arguments of az, or as Azure Resource Manager's JSON; the
other two are translated to the first.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PlainValidator, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from consumer import filter_arm, filter_az
from consumer.core.filter_operators import MEANINGS, Operand, Operator
from consumer.core.filters import AdvancedFilter, Filter
from consumer.errors import ConfigurationError
from consumer.filter_translation import Translation, setting_of
from consumer.setting_rules import Concern, Finding, refuse

ARM_FILE_MAX_BYTES = 1_048_576
"""A larger file is refused."""


def _finite(value: Any) -> int | float:
    if isinstance(value, str):  # as a variable gives it
        try:
            value = int(value) if value.lstrip("-").isdecimal() else float(value)
        except ValueError:
            value = None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise PydanticCustomError("number", "should be a number")
    number: int | float = value
    return number


Number = Annotated[int | float, PlainValidator(_finite, json_schema_input_type=float)]
Text = Annotated[str, Field(max_length=4_096)]
Numbers = Annotated[tuple[Number, ...], Field(min_length=1, max_length=1_000)]
Range = tuple[Number, Number]
Ranges = Annotated[tuple[Range, ...], Field(min_length=1, max_length=1_000)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1, max_length=1_000)]
EventType = Annotated[str, Field(max_length=256, pattern=r"^[^\s*]+$")]


class ConditionSettings(Concern):
    """A condition on one key: the key, and exactly one operator with what it compares with."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2, "maxProperties": 2})

    key: str = Field(max_length=256, pattern=r"^[^.]+(\.[^.]+)*$")
    """A field of the envelope such as subject, or a path such as data.modelTags.stage; in any case."""
    number_in: Numbers | None = None
    """The number is one of these."""
    number_not_in: Numbers | None = None
    """It is none of these, or no number, or not there."""
    number_less_than: Number | None = None
    """The number is less."""
    number_less_than_or_equals: Number | None = None
    """The number is less or the same."""
    number_greater_than: Number | None = None
    """The number is greater."""
    number_greater_than_or_equals: Number | None = None
    """The number is greater or the same."""
    number_in_range: Ranges | None = None
    """The number is in one of these ranges, [from, to], both included."""
    number_not_in_range: Ranges | None = None
    """It is in none of these ranges, or no number, or not there."""
    bool_equals: bool | None = None
    """It is this truth value."""
    string_contains: Texts | None = None
    """The text contains one of these. For text, case never counts."""
    string_not_contains: Texts | None = None
    """It contains none of these; it has to be there."""
    string_begins_with: Texts | None = None
    """The text begins with one of these."""
    string_not_begins_with: Texts | None = None
    """It begins with none of these; it has to be there."""
    string_ends_with: Texts | None = None
    """The text ends with one of these."""
    string_not_ends_with: Texts | None = None
    """It ends with none of these; it has to be there."""
    string_in: Texts | None = None
    """The text is one of these."""
    string_not_in: Texts | None = None
    """It is none of these, or no text, or not there."""
    is_null_or_undefined: Literal[True] | None = None
    """It is null, or not there."""
    is_not_null: Literal[True] | None = None
    """It is there, and not null."""

    @model_validator(mode="after")
    def _check_operator(self) -> Self:
        if len(self._operators()) != 1:
            refuse(Finding((), "needs exactly one operator, such as string_in: [production]"))
        for low, high in (*(self.number_in_range or ()), *(self.number_not_in_range or ())):
            if low > high:
                refuse(
                    Finding((setting_of(self._operators()[0]),), f"the range {low:g} to {high:g} is empty")
                )
        return self

    def _operators(self) -> list[Operator]:
        return [operator for operator in Operator if getattr(self, setting_of(operator)) is not None]

    def condition(self) -> AdvancedFilter:
        """The same for the core."""
        (operator,) = self._operators()
        value = getattr(self, setting_of(operator))
        match MEANINGS[operator].operand:
            case Operand.NOTHING:
                return AdvancedFilter(self.key, operator)
            case Operand.NUMBER | Operand.BOOL:
                return AdvancedFilter(self.key, operator, (value,))
            case _:
                return AdvancedFilter(self.key, operator, value)


class CanonicalFilter(Concern):
    """A filter in the canonical spelling; all that is given has to match."""

    included_event_types: tuple[EventType, ...] | None = Field(default=None, min_length=1)
    """Event types. The default is all that the processor's `types` let through."""
    subject_begins_with: Text = ""
    """How the subject begins."""
    subject_ends_with: Text = ""
    """How the subject ends."""
    is_subject_case_sensitive: bool = False
    """Whether case counts for the two above."""
    enable_advanced_filtering_on_arrays: bool = False
    """Whether advanced filters look at the elements of an array; otherwise an array matches none of them."""
    advanced_filters: tuple[ConditionSettings, ...] = Field(default=(), max_length=200)
    """Conditions on single keys, all of which have to match."""

    def filter(self) -> Filter:
        """The same for the core."""
        return Filter(
            self.included_event_types,
            self.subject_begins_with,
            self.subject_ends_with,
            self.is_subject_case_sensitive,
            self.enable_advanced_filtering_on_arrays,
            tuple(each.condition() for each in self.advanced_filters),
        )


class FilterSettings(CanonicalFilter):
    """What an event has to be like. Written like this, or as one of az, arm and arm_file."""

    az: tuple[Text, ...] | None = Field(default=None, min_length=1, max_length=200)
    """Arguments of `az eventgrid event-subscription create --advanced-filter`.

    Such as data.color StringIn blue red; or any of its flags for filters, such as --subject-ends-with .jpg.
    """
    arm: dict[str, Any] | None = None
    """The filter of an event subscription as Azure Resource Manager has it, or the whole subscription."""
    arm_file: Path | None = None
    """A JSON file with that; relative to the configuration file's folder."""

    @model_validator(mode="after")
    def _check_ways(self) -> Self:
        others = [name for name in ("az", "arm", "arm_file") if getattr(self, name) is not None]
        own = [
            name
            for name, field in CanonicalFilter.model_fields.items()
            if getattr(self, name) != field.default
        ]
        if len(others) + bool(own) > 1:
            names = " and ".join([*own[:1], *others])
            refuse(Finding((others[0],), f"{names} are different ways to write a filter: use one"))
        if self.az is not None:
            _canonical(filter_az.parse(self.az))
        if self.arm is not None:
            _canonical(filter_arm.parse(self.arm, ("arm",)))
        return self

    def canonical(self) -> CanonicalFilter:
        """The filter in the canonical spelling, however it was written.

        Reads the file, if it is in one; raises `ConfigurationError` for what is wrong with that.
        """
        if self.az is not None:
            return _canonical(filter_az.parse(self.az))
        if self.arm is not None:
            return _canonical(filter_arm.parse(self.arm, ("arm",)))
        if self.arm_file is not None:
            return _from_file(self.arm_file)
        return CanonicalFilter(**{name: getattr(self, name) for name in CanonicalFilter.model_fields})


def _canonical(read: Translation) -> CanonicalFilter:
    """Validate what was translated; what is wrong is said of the place that it was translated from."""
    refuse(*read.flaws)
    try:
        return CanonicalFilter.model_validate(read.settings)
    except ValidationError as error:
        found: list[Finding] = []
        details = error.errors(include_url=False, include_input=False)
        for detail in details:
            within = [other for other in details if other["loc"][:-1] == detail["loc"]]
            if detail["type"] == "too_short" and within:
                continue  # it is only too short without what is wrong in it
            origin, rest = read.origin(detail["loc"])
            steps = ".".join(map(str, rest))
            message = detail["msg"].removeprefix("Input ")
            found.append(Finding(origin, f"{steps}: {message}" if steps else message))
        refuse(*found)
        raise


def _from_file(path: Path) -> CanonicalFilter:
    try:
        with path.open("rb") as file:
            content = file.read(ARM_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > ARM_FILE_MAX_BYTES:
        raise ConfigurationError(f"{path}: larger than {ARM_FILE_MAX_BYTES} bytes")
    try:
        given = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: this is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigurationError(f"{where}: this is no JSON: {error.msg}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: values are nested too deeply") from None
    try:
        return _canonical(filter_arm.parse(given, ()))
    except PydanticCustomError as error:
        findings: tuple[Finding, ...] = (error.context or {})["findings"]
        raise ConfigurationError(*(_sentence(path, finding) for finding in findings)) from None


def _sentence(path: Path, finding: Finding) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in finding.at)
    return f"{path}: {steps.removeprefix('.')}: {finding.message}" if steps else f"{path}: {finding.message}"
