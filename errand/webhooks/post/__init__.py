"""One POST of signed bytes to an address that a caller names: dial, send, decide at the status line.

A client of its own, because what a webhook needs is narrower and harder than what HTTP libraries give: the status line
decides, however broken the rest of the answer is; every connection passes the address guard; one deadline bounds it
all; the fault of each phase has a name. It knows nothing of jobs, events and signatures.
"""

from errand.webhooks.post.answer import HttpAnswer
from errand.webhooks.post.poster import Poster
from errand.webhooks.post.proxy import EgressProxy
from errand.webhooks.post_fault import FaultKind, NotTried, PostFault

__all__ = ["EgressProxy", "FaultKind", "HttpAnswer", "NotTried", "PostFault", "Poster"]
