"""Where a person looks at what an event is about.

That is the page of a run, a model or an endpoint in the studio of its Azure Machine Learning workspace; of
any other resource its page in the Azure portal.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote

from consumer.events import Event
from consumer.processor import INTERNAL

STUDIO = "https://ml.azure.com"
AZURE_PORTAL = "https://portal.azure.com"
DATA_FACTORY = "https://adf.azure.com"
_ID_PARTS = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"(/providers/(?P<provider>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+))?/?",
    re.IGNORECASE,
)
_ML = ("microsoft.machinelearningservices", "workspaces")


class Resource(NamedTuple):
    """An Azure resource id in parts, as they were written; "" where it has none."""

    subscription: str = ""
    group: str = ""
    provider: str = ""
    kind: str = ""
    name: str = ""

    @property
    def is_workspace(self) -> bool:
        """Whether it is a workspace of Azure Machine Learning."""
        return (self.provider.casefold(), self.kind.casefold()) == _ML

    @property
    def path(self) -> str:
        """The id, every part escaped for a URL."""
        group = f"/subscriptions/{_quoted(self.subscription)}/resourcegroups/{_quoted(self.group)}"
        named = "/".join(map(_quoted, (self.provider, self.kind, self.name)))
        return f"{group}/providers/{named}" if self.name else group


def resource_of(topic: str) -> Resource:
    """The parts of a topic; all of them empty if it is no resource id."""
    found = _ID_PARTS.fullmatch(topic)
    return Resource(**{name: part or "" for name, part in found.groupdict().items()}) if found else Resource()


def run_of(event: Event) -> str:
    """The id of the run or job that an event is about; "" if it is about none."""
    return text_of(event, ("runId",), ("jobName",), ("job",))


def model_of(event: Event) -> tuple[str, str]:
    """Name and version of the model that an event is about; "" for what it does not say."""
    name = text_of(event, ("modelName",), ("model",))
    version = text_of(event, ("modelVersion",), ("version",)) if name else ""
    return name, version


def endpoint_of(event: Event) -> str:
    """The endpoint that an event is about, or what used to be called a service; "" if it is about none."""
    return text_of(event, ("endpointName",), ("endpoint",), ("serviceName",))


def link_of(event: Event, studio: str = STUDIO, tenant: str | None = None) -> str:
    """The page of what an event is about; "" if its topic is no resource.

    Of what inturn itself did it is the page of that, wherever it was done. With a tenant's id it opens for
    those who belong to several.
    """
    is_ours = event.type.startswith(INTERNAL)
    factory = resource_of(text_of(event, ("factory",))) if is_ours else Resource()
    if factory.name and run_of(event):
        return f"{DATA_FACTORY}/en/monitoring/pipelineruns/{_quoted(run_of(event))}?factory={factory.path}"
    # What we did may be in another workspace than the event that made us do it.
    done_in = resource_of(text_of(event, ("workspace",))) if is_ours else Resource()
    resource = done_in if done_in.is_workspace else resource_of(event.topic)
    if not resource.is_workspace:
        return f"{AZURE_PORTAL}/#resource{resource.path}" if resource.name else ""
    query = f"?wsid={resource.path}" + (f"&tid={_quoted(tenant)}" if tenant else "")
    return f"{studio}{_page_of(event)}{query}"


def _page_of(event: Event) -> str:
    (model, version), endpoint, run = model_of(event), endpoint_of(event), run_of(event)
    if endpoint:
        return f"/endpoints/realtime/{_quoted(endpoint)}/detail"
    if run:
        return f"/runs/{_quoted(run)}"
    if model and version:
        return f"/model/{_quoted(model)}:{_quoted(version)}/details"
    return "/model/list" if model else "/"


def text_of(event: Event, *paths: tuple[str, ...]) -> str:
    """The first of some values in the data that is a text or a number, as text; "" if none is."""
    for path in paths:
        value: Any = event.field(*path)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value):
            return str(value)
    return ""


def _quoted(part: str) -> str:
    # A part of dots would be taken for a way up.
    return quote(part, safe="", errors="replace") if part.strip(".") else ""
