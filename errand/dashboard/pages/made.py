"""What pages of jobs show within themselves: a letter in a frame that may do nothing, and stored pictures."""

from __future__ import annotations

from fastapi import Depends, Request, Response

from errand.dashboard import gate
from errand.dashboard.page_route import page_router
from errand.http.answers.problems import Problem
from errand.http.requests import job_path
from errand.http.requests.job_path import JobId
from errand.http.routes.stored.files import Key, streamed_answer
from errand.http.shared import SharedDep

router = page_router()


@router.get("/jobs/{id}/letter", dependencies=[Depends(gate.may_look)])
async def show_letter(id: JobId, request: Request, to: SharedDep) -> Response:
    """The HTML of a job's letter by itself."""
    job = await job_path.found(to, id)
    if job.type not in to.letter_types:
        raise Problem(404, "unknown-letter", f"The job '{id}' sends no letter.")
    # types that send letters are known only where `errand[mail]` is installed
    from errand.dashboard.made.letter import letter_of
    from errand.http.routes.dev_mail import framed, letters_folder

    letter = await letter_of(to, job, letters_folder(request, to))
    return framed(letter.html if letter else None)


@router.get("/files/{key:path}", dependencies=[Depends(gate.may_look)])
async def show_file(key: Key, request: Request, to: SharedDep) -> Response:
    """A stored output, for who may see the dashboard: the browser sends its cookie here, and nowhere else.

    It comes from this service, never by a redirect to a bucket: the page's policy allows no pictures from elsewhere.
    """
    answer = await streamed_answer(key, request, to, until_s=None)
    # kept, but asked for each time: who has signed out, or comes next at that machine, has no cookie for it
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer
