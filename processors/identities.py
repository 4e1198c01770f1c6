"""Who we are at Azure where no connection string is given."""

from __future__ import annotations

from typing import Literal

from azure.core.credentials_async import AsyncTokenCredential

Identity = Literal["default", "managed_identity", "workload_identity"]


def credential_of(identity: Identity, client_id: str | None) -> AsyncTokenCredential:
    """The identity; whoever asked for it closes it."""
    from azure.identity import aio  # noqa: PLC0415 - costs 150 ms, and most configurations do without

    match identity:
        case "managed_identity":
            return aio.ManagedIdentityCredential(client_id=client_id)
        case "workload_identity":
            return aio.WorkloadIdentityCredential(client_id=client_id)
        case "default":
            return aio.DefaultAzureCredential(managed_identity_client_id=client_id)
