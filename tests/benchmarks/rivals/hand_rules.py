"""What a hand-written consumer knows of the events: object, order token and identity by type."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

Key = tuple[str, str]
"""Topic and path of an object."""
Read = tuple[str, Any, str]
"""Path of the object, order token, and what makes two events of one object and type the same."""
Rule = Callable[[Any, str, str, str], Read]
"""Takes data, subject, event time and id."""

_TERMINAL = {"completed", "finished", "failed", "canceled", "cancelled"}


def moment(text: str) -> str:
    """A time that compares as text, to the microsecond, whatever offset it was written with."""
    if text[-1] == "Z" or text.endswith("+00:00"):
        return text[:26]
    return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")[:26]


def _blob(data: Any, subject: str, time: str, event_id: str) -> Read:
    sequencer = data["sequencer"]
    etag = data.get("eTag")
    return subject, sequencer, etag.strip('"') if etag else sequencer


def _run(data: Any, subject: str, time: str, event_id: str) -> Read:
    status = data.get("runStatus")
    ended = status is None or status.lower() in _TERMINAL
    return data["runId"], (ended, moment(time)), event_id


def _model(data: Any, subject: str, time: str, event_id: str) -> Read:
    name = data.get("modelName")
    if name is not None:
        return name, int(data["modelVersion"]), event_id
    return data["ModelName"], int(data["ModelVersion"]), event_id


def _endpoint(data: Any, subject: str, time: str, event_id: str) -> Read:
    return subject, moment(time), event_id


def _drift(data: Any, subject: str, time: str, event_id: str) -> Read:
    drift = data.get("dataDriftId")
    if drift is not None:
        return drift, (moment(data["endTime"]), moment(time)), event_id
    return data["DataDriftId"], (moment(data["EndTime"]), moment(time)), event_id


_ML = "Microsoft.MachineLearningServices."
RULES: dict[str, Rule] = {
    "Microsoft.Storage.BlobCreated": _blob,
    "Microsoft.Storage.BlobDeleted": _blob,
    f"{_ML}ModelRegistered": _model,
    f"{_ML}ModelDeployed": _endpoint,
    f"{_ML}RunCompleted": _run,
    f"{_ML}RunStatusChanged": _run,
    f"{_ML}DatasetDriftDetected": _drift,
}
