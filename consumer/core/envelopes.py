"""The members of an envelope, for msgspec: it goes by annotations, which only interpreted modules have."""

from __future__ import annotations

import msgspec


class Grid(msgspec.Struct, gc=False):
    """Event Grid's own."""

    topic: str
    subject: str
    eventType: str  # noqa: N815 - as it is written
    id: str
    eventTime: str  # noqa: N815 - as it is written
    data: msgspec.Raw
    dataVersion: str | None = None  # noqa: N815 - as it is written
    metadataVersion: str | None = None  # noqa: N815 - as it is written


class Cloud(msgspec.Struct, gc=False):
    """CloudEvents, as Event Grid writes them."""

    specversion: str
    type: str
    source: str
    subject: str
    id: str
    time: str
    data: msgspec.Raw


class DataAlone(msgspec.Struct):
    """The data of an event in either schema; ``null`` where there is none."""

    data: msgspec.Raw = msgspec.Raw(b"null")


grids = msgspec.json.Decoder(list[Grid]).decode
grid = msgspec.json.Decoder(Grid).decode
clouds = msgspec.json.Decoder(list[Cloud]).decode
cloud = msgspec.json.Decoder(Cloud).decode
data_alone = msgspec.json.Decoder(DataAlone).decode
