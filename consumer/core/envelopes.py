"""The members of an envelope, for msgspec: it goes by annotations, which only interpreted modules have."""

from __future__ import annotations

import msgspec


class Envelope(msgspec.Struct, gc=False):
    """Event Grid's own. The first six members are the same in both, in this order."""

    topic: str
    subject: str
    type: str = msgspec.field(name="eventType")
    id: str
    time: str = msgspec.field(name="eventTime")
    data: msgspec.Raw
    data_version: str | None = msgspec.field(name="dataVersion", default=None)
    metadata_version: str | None = msgspec.field(name="metadataVersion", default=None)


class CloudEnvelope(msgspec.Struct, gc=False):
    """CloudEvents, as Event Grid writes them; under the names of Event Grid."""

    topic: str = msgspec.field(name="source")
    subject: str
    type: str
    id: str
    time: str
    data: msgspec.Raw
    specversion: str


class DataAlone(msgspec.Struct):
    """The data of an event in either schema; ``null`` where there is none."""

    data: msgspec.Raw = msgspec.Raw(b"null")


grids = msgspec.json.Decoder(list[Envelope]).decode
grid = msgspec.json.Decoder(Envelope).decode
clouds = msgspec.json.Decoder(list[CloudEnvelope]).decode
cloud = msgspec.json.Decoder(CloudEnvelope).decode
data_alone = msgspec.json.Decoder(DataAlone).decode
