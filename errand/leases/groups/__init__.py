"""Groups: jobs that wait for one and the same thing, such as a receiver that is busy.

They are parked, as jobs of unknown types are: due again by themselves much later, and out of the way of all others
until a process that knows of room for some of them has these made due. Nothing here knows what they wait for.
"""

from errand.leases.groups.groups import Groups, Released
from errand.leases.groups.spread import AnyGroups, groups_in

__all__ = ["AnyGroups", "Groups", "Released", "groups_in"]
