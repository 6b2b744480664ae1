"""The addresses of a receiver by its host name; what goes wrong has a name that a delivery knows."""

from __future__ import annotations

from errand.resources.guard import AddressInfo
from errand.resources.lookups import Lookups, LookupsBusy
from errand.webhooks.post_fault import NotTried, PostFault


class Names:
    """Those of one poster."""

    def __init__(self) -> None:
        self._lookups = Lookups()

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """As `getaddrinfo` has them.

        Raises PostFault: `dns`, or `blocked` for what cannot be the name of a host; NotTried if it was not looked up.
        """
        try:
            return await self._lookups.addresses(host, port)
        except LookupsBusy as reason:
            raise NotTried(str(reason)) from None
        except UnicodeError:
            raise PostFault("blocked", f"not the name of a host: {host}") from None
        except OSError as error:
            raise PostFault("dns", f"{host}: {error.strerror or error}") from None
