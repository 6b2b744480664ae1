"""What a delivery to an endpoint passes right before it is posted: the endpoint's rate, and its place in line.

Both stand in Redis, for all workers, and put a delivery back without a try. What one worker knows by itself (turns,
breakers) is not here.
"""

from errand.webhooks.endpoints.gates.lines import EndpointLines
from errand.webhooks.endpoints.gates.pace import EndpointPace

__all__ = ["EndpointLines", "EndpointPace"]
