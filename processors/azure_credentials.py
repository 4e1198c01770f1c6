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
from processors.secret_files import SecretFile


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
            assert settings.client_secret_file is not None
            return SecretFileCredential(settings, settings.client_secret_file)


class SecretFileCredential(AsyncTokenCredential):
    """An application with a secret in a file, which may be replaced while we run."""

    def __init__(self, settings: AzureSettings, path: Path) -> None:
        """Raises `ProcessorSettingsError` if the file cannot be read or is empty."""
        self._settings = settings
        self._file = SecretFile(path, "client_secret_file")
        self._secret = self._file.read()
        self._inner = self._made()

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token, got with the secret that the file holds now."""
        secret = await asyncio.to_thread(self._file.read)
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
