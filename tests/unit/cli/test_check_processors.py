"""What `inturn check` finds of processors."""

from __future__ import annotations

import pytest

from consumer.cli.check_processors import processor_findings
from consumer.settings import Settings


def found(**processor: object) -> list[str]:
    return list(
        processor_findings(
            Settings.model_validate(
                {
                    "source": {"type": "file", "paths": ["a.jsonl"]},
                    "admission": {"topics": "any"},
                    "processors": [{"name": "p", "type": "console", **processor}],
                }
            )
        )
    )


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("ModelRegistered", "Microsoft.MachineLearningServices.ModelRegistered"),
        ("runstatuschanged", "Microsoft.MachineLearningServices.RunStatusChanged"),
        ("BlobCreated", "Microsoft.Storage.BlobCreated"),
    ],
)
def test_a_type_without_what_stands_before_it_is_told_with_its_whole_name(short, whole):
    (finding,) = found(types=["Mine.Made", short])
    assert f"p waits for {short}: " in finding
    assert finding.endswith(f"{whole}.")


@pytest.mark.parametrize(
    "kind", ["Microsoft.MachineLearningServices.ModelRegistered", "OrderPlaced", "Model*", "*", "Inturn.*"]
)
def test_other_types_are_as_they_are(kind):
    assert not found(types=[kind])
