"""How a processor reaches Azure Resource Manager, and the names that may stand in its addresses.

Names that come out of events go into addresses only through `named` and `filled`: what does not look like
a name is refused, and what does is percent-encoded all the same where the address is put together.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from consumer.processor import Reject
from processors.outbound_addresses import is_loopback

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
"""What Azure ML takes as the name of a model, a job or a component."""
_DIGITS_MAX = 18


class Cloud(NamedTuple):
    """The addresses of one of Azure's clouds."""

    resource_manager: str
    authority: str


CLOUDS: Mapping[str, Cloud] = {
    "public": Cloud("https://management.azure.com", "login.microsoftonline.com"),
    "china": Cloud("https://management.chinacloudapi.cn", "login.chinacloudapi.cn"),
    "us_government": Cloud("https://management.usgovcloudapi.net", "login.microsoftonline.us"),
}

_SEGMENT = r"[A-Za-z0-9._()-]{1,90}"
_GROUP = rf"/subscriptions/{_SEGMENT}/resourceGroups/{_SEGMENT}/providers"
_WORKSPACE_ID = re.compile(
    rf"{_GROUP}/Microsoft\.MachineLearningServices/workspaces/{NAME.pattern}", re.IGNORECASE
)
_FACTORY_ID = re.compile(
    rf"{_GROUP}/Microsoft\.DataFactory/factories/[A-Za-z0-9][A-Za-z0-9-]{{2,62}}", re.IGNORECASE
)


def _check_workspace(text: str) -> str:
    return _checked(text, _WORKSPACE_ID, "Microsoft.MachineLearningServices/workspaces/NAME")


def _check_factory(text: str) -> str:
    return _checked(text, _FACTORY_ID, "Microsoft.DataFactory/factories/NAME")


def _checked(text: str, shape: re.Pattern[str], what: str) -> str:
    if not shape.fullmatch(text):
        raise ValueError(f"not a resource id: /subscriptions/ID/resourceGroups/NAME/providers/{what}")
    return text


WorkspaceId = Annotated[str, Field(max_length=512), AfterValidator(_check_workspace)]
"""The resource id of an Azure ML workspace."""
FactoryId = Annotated[str, Field(max_length=512), AfterValidator(_check_factory)]
"""The resource id of a Data Factory."""
Glob = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^\S+$")]
"""A name in which ``*`` stands for any characters and ``?`` for one; case counts."""


class Frozen(BaseModel):
    """Settings that refuse what they do not know, and never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class AzureSettings(Frozen):
    """Which Azure, and who we are there."""

    cloud: Literal["public", "china", "us_government"] = "public"
    """Which of Azure's clouds."""
    endpoint: str | None = Field(default=None, max_length=256, pattern=r"^https?://[^\s?#@/]+/?$")
    """The address of Azure Resource Manager, if not the cloud's own; http only on this machine."""
    identity: Literal["managed", "workload", "cli", "client_secret"] = "managed"
    """managed: of the machine. workload: of the pod, federated. cli: of whoever did `az login`.
    client_secret: an application with a secret."""
    client_id: str | None = Field(default=None, min_length=1, max_length=64)
    """The application, or the user-assigned identity; the default is the machine's or the pod's own."""
    tenant_id: str | None = Field(default=None, min_length=1, max_length=64)
    """The directory; needed for client_secret."""
    client_secret_file: Path | None = None
    """The file that holds the secret; read again when it changes."""
    request_max_s: float = Field(default=20.0, gt=0, le=300)
    """A request without an answer after so many seconds has failed; what it did is looked up then."""
    poll_s: float = Field(default=10.0, gt=0, le=60)
    """Seconds between two looks at a long-running operation where Azure does not say how many."""

    @property
    def url(self) -> str:
        """Azure Resource Manager's address, without a slash at the end."""
        return (self.endpoint or CLOUDS[self.cloud].resource_manager).rstrip("/")

    @property
    def is_plain(self) -> bool:
        """Whether it is spoken to without TLS: on this machine only."""
        return self.url.startswith("http://")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_plain and not is_loopback(urlsplit(self.url).hostname or ""):
            raise ValueError("endpoint: a token goes over https only; http is for this machine")
        secret = {
            "client_id": self.client_id,
            "tenant_id": self.tenant_id,
            "client_secret_file": self.client_secret_file,
        }
        if self.identity == "client_secret" and (
            missing := [name for name, value in secret.items() if value is None]
        ):
            raise ValueError(f"identity: client_secret needs {', '.join(missing)}")
        if self.identity != "client_secret" and self.client_secret_file is not None:
            raise ValueError("client_secret_file: has no effect without identity: client_secret")
        return self


def segment(name: str) -> str:
    """One segment of an address."""
    return quote(name, safe="")


def is_listed(topic: str, ids: tuple[str, ...]) -> str | None:
    """The resource id in the list that an event's topic is, as the list writes it; None: it is not in it."""
    folded = topic.casefold()
    return next((known for known in ids if known.casefold() == folded), None)


def named(what: str, value: object) -> str:
    """A name out of an event. Raises `Reject` for what Azure ML would not take as one."""
    if isinstance(value, str) and NAME.fullmatch(value):
        return value
    raise Reject(f"The {what} in the event is no name that Azure ML gives.")


def numbered(what: str, value: object) -> int:
    """A version out of an event, as a number or the text of one. Raises `Reject` for any other."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**_DIGITS_MAX:
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _DIGITS_MAX:
        return int(value)
    raise Reject(f"The {what} in the event is no whole number, and others cannot be compared.")


def check_slots(template: str, slots: frozenset[str]) -> str:
    """The template, if it has no slots but these. Raises `ValueError`."""
    try:
        found = list(string.Formatter().parse(template))
    except ValueError:
        raise ValueError("the braces do not match") from None
    for _, name, spec, conversion in found:
        if name is not None and (name not in slots or spec or conversion):
            raise ValueError(
                f"{{{name}}} is no slot; there are {', '.join(f'{{{slot}}}' for slot in sorted(slots))}"
            )
    return template


def filled(template: str, slots: Mapping[str, str]) -> str:
    """A template, checked by `check_slots`, with its slots filled; nothing in a value is looked at again."""
    return template.format_map(slots)
