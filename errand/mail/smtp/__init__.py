"""SMTP as a client speaks it: a server's URL, connections that are kept, one letter's transaction.

It is read strictly, step by step, because what may be done after a fault depends on how far the conversation had come.
A library that hides the steps (aiosmtplib does not say whether DATA or the message was refused, and takes "5_5" for a
code) cannot be asked that. Public: `SmtpPool`, `PoolLimits`, `Timeouts`.
"""

from errand.mail.smtp.connection import Timeouts
from errand.mail.smtp.pool import PoolLimits, SmtpPool

__all__ = ["PoolLimits", "SmtpPool", "Timeouts"]
