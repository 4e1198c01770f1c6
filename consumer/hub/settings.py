"""What a local hub is made of. Frozen; sizes in bytes, times in seconds or milliseconds as named."""

from __future__ import annotations

from pathlib import Path

import msgspec

DEFAULT_GROUP = "$Default"


class HubSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One event hub."""

    name: str
    partitions: int = 4
    consumer_groups: tuple[str, ...] = (DEFAULT_GROUP,)
    retention_bytes_max: int = 256 * 1024 * 1024
    """Stored events beyond this are trimmed, the oldest first, and counted."""


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one client may ask for, and all of them together. Beyond: refused with the service's condition."""

    connections_max: int = 2_000
    sessions_max: int = 64
    """Of one connection."""
    links_max: int = 256
    """Of one session."""
    frame_bytes_max: int = 1024 * 1024
    message_bytes_max: int = 1024 * 1024
    receivers_max: int = 5
    """Of one partition and consumer group, without an owner level, as the service has it."""
    idle_timeout_ms: int = 240_000
    """A client that says nothing for this long is dropped."""
    write_buffer_bytes_max: int = 1024 * 1024
    """What a client has not taken yet; at this limit it is sent nothing more until it has."""


class LocalHubSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace: where it listens, its hubs, and who may come in."""

    hubs: tuple[HubSettings, ...] = (HubSettings(name="events"),)
    host: str = "127.0.0.1"
    port: int = 0
    """0 lets the system choose. Checkpoints are filed under host and port: fix it if they shall last."""
    beyond_loopback: bool = False
    """Needed to listen on anything but the loopback interface."""
    tls_pem: Path | None = None
    """A certificate and its key; None speaks without TLS, as the clients do with an emulator."""
    key_name: str = "RootManageSharedAccessKey"
    key: str | None = None
    """None accepts every key and token; otherwise tokens must be signed with this one."""
    data_folder: Path | None = None
    """Where events are kept over restarts; None keeps them in memory only."""
    limits: ServerLimits = ServerLimits()
