"""The letter of a job that sends one: as the mail sink has kept it, or written anew from the job's args."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from errand.http.answers.problems import Problem
from errand.http.routes.email import EmailPreview, rendered
from errand.http.shared import Shared
from errand.job.job_type import JobType
from errand.mail import Message
from errand.mail.kept_letters import letter_of_job
from errand.monitor.job_snapshot import JobSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLetter:
    """What its reader sees, or would see."""

    subject: str
    text: str
    html: str | None
    kept_as: str | None = None
    """Its name in the mail sink; None if it was written anew."""


async def letter_of(to: Shared, job: JobSnapshot, folder: Path | None) -> ShownLetter | None:
    """The letter in the sink's folder, or the one that the job's template makes of its args today.

    Secrets in the args are stars in what is written anew. None for a job that sends no letter, or whose args name no
    template.
    """
    known = to.catalog.get(job.type)
    if known is None or job.type not in to.letter_types:
        return None
    kept = None if folder is None else await asyncio.to_thread(letter_of_job, folder, job.id)
    if kept is not None:
        name, letter = kept
        subject = dict(letter.headers).get("Subject", "")
        return ShownLetter(subject=subject, text=letter.text, html=letter.html, kept_as=name)
    preview = _preview(known, job.args)
    return None if preview is None else await _written(to, preview)


def _preview(known: JobType[Any, Any], args: Mapping[str, Any]) -> EmailPreview | None:
    """What to write, if the type's args are those of a letter by a template."""
    template = known.args_schema.get("properties", {}).get("template")
    if template is None:
        return None
    given = {"template": template.get("default"), **known.shown_args(args)}
    try:
        return EmailPreview.model_validate(
            {name: value for name, value in given.items() if name in EmailPreview.model_fields}
        )
    except ValidationError:
        return None


async def _written(to: Shared, preview: EmailPreview) -> ShownLetter | None:
    """None for a template that is not there any more, or that takes other data."""
    message = Message(**preview.model_dump())
    try:
        seen = await asyncio.to_thread(rendered, message, to.settings.mail_from, to.settings.template_dir)
    except Problem:
        return None
    return ShownLetter(subject=seen.subject, text=seen.text, html=seen.html)
