"""A checkpoint in the metadata of a blob, as every Event Hubs SDK and KEDA spell it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from consumer.events import Checkpoint


def metadata_of(checkpoint: Checkpoint) -> dict[str, str]:
    """The metadata that say where a partition is."""
    return {"offset": checkpoint.offset, "sequencenumber": str(checkpoint.sequence_number)}


def checkpoint_in(metadata: Mapping[str, str] | None) -> Checkpoint | None:
    """The checkpoint in a blob's metadata, whose names some clients write with capitals, if there is one."""
    values = {name.lower(): value for name, value in (metadata or {}).items()}
    offset, sequence_number = values.get("offset"), values.get("sequencenumber", "")
    if not offset or not re.fullmatch(r"-?\d{1,19}", sequence_number):
        return None
    return Checkpoint(int(sequence_number), offset)
