"""The address that bounces go to: it carries the job's id (VERP), by which a bounce names its letter."""

from __future__ import annotations

import re

JOB_ID = r"[A-Za-z0-9_-]{1,43}"
"""Those that fit: a local part has 64 characters at most (RFC 5321 §4.5.3.1.1), 20 of them the setting's own."""


def of_job(return_path: str, job_id: str) -> str:
    """`bounces+<job id>@…`; the plain return path for ids that do not fit."""
    local, _, domain = return_path.partition("@")
    return f"{local}+{job_id}@{domain}" if re.fullmatch(JOB_ID, job_id) else return_path


def job_in(address: str, return_path: str) -> str | None:
    """The job id that `of_job` has put into the address; None if it is another one."""
    local, _, domain = return_path.partition("@")
    found = re.fullmatch(rf"(?i:{re.escape(local)})\+({JOB_ID})@(?i:{re.escape(domain)})", address.strip())
    return found[1] if found else None
