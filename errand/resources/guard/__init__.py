"""What a URL of a caller may lead to (SSRF): which URLs, which ports, which addresses; and what TLS with it may cost.

Every request to an address that a caller names passes it: deliveries, images from URLs. What an operator names in the
settings (Redis, mail servers, storage) does not.
"""

from errand.resources.guard.address_guard import AddressGuard, AddressInfo, AddressRefused
from errand.resources.guard.caller_url import SINK_HOST, CallerUrl, fault_of_url
from errand.resources.guard.outgoing_tls import outgoing_context
from errand.resources.guard.url_policy import UrlPolicy

__all__ = [
    "SINK_HOST",
    "AddressGuard",
    "AddressInfo",
    "AddressRefused",
    "CallerUrl",
    "UrlPolicy",
    "fault_of_url",
    "outgoing_context",
]
