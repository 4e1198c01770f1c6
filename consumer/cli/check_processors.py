"""What `inturn check` finds of processors: what is allowed, and rarely meant."""

from __future__ import annotations

from collections.abc import Iterator

from consumer.settings import Settings

_SHORT_NAMES = {
    name.casefold(): f"Microsoft.{provider}.{name}"
    for provider, names in (
        (
            "MachineLearningServices",
            ("ModelRegistered", "ModelDeployed", "RunCompleted", "RunStatusChanged", "DatasetDriftDetected"),
        ),
        ("Storage", ("BlobCreated", "BlobDeleted", "BlobRenamed", "BlobTierChanged")),
    )
    for name in names
}
"""What people call these types, and documentation does, without what stands before it in an event."""


def processor_findings(settings: Settings) -> Iterator[str]:
    """What is allowed of processors, and will surprise."""
    for each in settings.processors:
        for kind in each.types:
            whole = _SHORT_NAMES.get(kind.casefold())
            if whole is not None:
                yield f"processor {each.name} waits for {kind}: the type of Azure's own events is {whole}."
