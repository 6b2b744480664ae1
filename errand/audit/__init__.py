"""Who changed what, and whose credentials were refused: the latest of each, kept in Redis for all API processes.

Here is what is kept and how it is read, without HTTP: a route and a page may show it. `errand.http.gates.audit` decides
what is written. Public: `AuditTrail`, `AuditEntry`, `AuditFilter`, `AuditPage`, `AuditPosition`.
"""

from errand.audit.trail import KINDS, AuditEntry, AuditFilter, AuditPage, AuditPosition, AuditTrail, Kind

__all__ = ["KINDS", "AuditEntry", "AuditFilter", "AuditPage", "AuditPosition", "AuditTrail", "Kind"]
