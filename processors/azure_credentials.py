"""Who we are at Azure: one named identity each, never a search through whatever the machine might have."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.identity.aio import (
    AzureCliCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from consumer.errors import ProcessorSettingsError
from processors.azure_settings import CLOUDS, AzureSettings

_SECRET_MAX_BYTES = 65_536


def credential_of(settings: AzureSettings) -> AsyncTokenCredential:
    """The credential that the settings name; to be closed by the caller.

    Raises `ProcessorSettingsError` if what it needs is not there.
    """
    match settings.identity:
        case "managed":
            return ManagedIdentityCredential(client_id=settings.client_id)
        case "workload":
            try:
                return WorkloadIdentityCredential(
                    client_id=settings.client_id,
                    tenant_id=settings.tenant_id,
                    authority=CLOUDS[settings.cloud].authority,
                )
            except ValueError as error:
                raise ProcessorSettingsError(
                    "identity: workload: the pod has no federated token. Is its service account annotated, "
                    "and the pod labelled azure.workload.identity/use?"
                ) from error
        case "cli":
            return AzureCliCredential(tenant_id=settings.tenant_id or "")
        case "client_secret":
            return SecretFileCredential(settings)


class SecretFileCredential(AsyncTokenCredential):
    """An application with a secret in a file, which may be replaced while we run."""

    def __init__(self, settings: AzureSettings) -> None:
        """Raises `ProcessorSettingsError` if the file cannot be read or is empty."""
        assert settings.client_secret_file is not None
        self._settings = settings
        self._path = settings.client_secret_file
        self._secret = _read(self._path)
        self._inner = self._made()

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token, got with the secret that the file holds now."""
        secret = await asyncio.to_thread(_read, self._path)
        if secret != self._secret:
            old, self._secret = self._inner, secret
            self._inner = self._made()
            await old.close()
        return await self._inner.get_token(*scopes, **options)

    def _made(self) -> ClientSecretCredential:
        return ClientSecretCredential(
            self._settings.tenant_id or "",
            self._settings.client_id or "",
            self._secret,
            authority=CLOUDS[self._settings.cloud].authority,
        )

    async def close(self) -> None:
        """Let go of the connection."""
        await self._inner.close()

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_SECRET_MAX_BYTES + 1)
    except OSError as error:
        raise ProcessorSettingsError(
            f"client_secret_file: {path} cannot be read ({error.strerror})."
        ) from error
    try:
        secret = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        secret = ""  # not chained: the error would hold the secret's bytes
    if not secret or len(content) > _SECRET_MAX_BYTES:
        raise ProcessorSettingsError(f"client_secret_file: {path} does not hold a secret.")
    return secret
