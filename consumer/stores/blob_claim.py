"""The one right to redrive the dead letters of a container: a lease on an empty blob.

The service keeps the time, so the clocks of those who want it need not agree.
"""

from __future__ import annotations

from contextlib import suppress

from azure.core.exceptions import HttpResponseError
from azure.eventhub.extensions.checkpointstoreblobaio._vendor.storage.blob.aio import BlobLeaseClient

from consumer.errors import FenceLost
from consumer.stores.blob_container import BlobContainer, is_missing

_NAME = "inturn-redrive"
"""Beside the folders of the namespaces, where no reader of checkpoints looks."""
_TAKEN = 409
"""Somebody else has the lease, or it is not `owner` who gives it back."""


class BlobClaim:
    """Takes the lease, renews it and gives it back."""

    def __init__(self, container: BlobContainer) -> None:
        self._container = container

    async def take(self, owner: str, lasts_s: int) -> bool:
        """Take or renew it for 15 to 60 seconds. `owner` is a UUID. Raises `StoreUnavailable`."""
        taken = await self._acquire(owner, lasts_s)
        if taken is None:
            with suppress(FenceLost):  # another has made it at this moment
                await self._container.put(_NAME, b"", {}, "")
            taken = await self._acquire(owner, lasts_s)
        return bool(taken)

    async def _acquire(self, owner: str, lasts_s: int) -> bool | None:
        """Whether it is ours now; None: there is no such blob yet."""
        async with self._container.call():
            try:
                # With the id that has the lease already it is renewed.
                await self._lease(owner).acquire(lease_duration=lasts_s)
            except HttpResponseError as error:
                if is_missing(error):
                    return None
                if error.status_code != _TAKEN:
                    raise
                return False
        return True

    async def release(self, owner: str) -> None:
        """Give it back, if `owner` has it. Raises `StoreUnavailable`."""
        async with self._container.call():
            try:
                await self._lease(owner).release()
            except HttpResponseError as error:
                if error.status_code != _TAKEN and not is_missing(error):
                    raise

    def _lease(self, owner: str) -> BlobLeaseClient:
        return BlobLeaseClient(self._container.client.get_blob_client(_NAME), lease_id=owner)
