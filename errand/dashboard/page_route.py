"""The route class of pages: what goes wrong is answered with a page, and a viewer who must sign in gets the form."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute, APIRouter

from errand.dashboard.assets import PATH
from errand.dashboard.rendering import page
from errand.http.answers import problems
from errand.http.gates import auth


def page_router(below: str = "") -> APIRouter:
    """For pages and actions below that path of the dashboard; nothing of it is in the OpenAPI document."""
    return APIRouter(prefix=f"{PATH}{below}", route_class=PageRoute, include_in_schema=False)


class PageRoute(APIRoute):
    """A route whose answers are for people."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except HTTPException:
                # of an app's own dependency: that app knows what its users should see, such as its own sign-in
                raise
            except Exception as error:  # noqa: BLE001  # answered as the API would, or raised again
                said, fault = await problems.answer_to(error, request)
                if fault is not None:
                    raise fault from None
                return fault_page(request, said)

        return answer


def fault_page(request: Request, said: Response) -> Response:
    """The page that says what the API's problem says."""
    problem = json.loads(bytes(said.body))
    if problem["status"] == 401 and not auth.is_off(request.app):
        answer = page(request, "sign_in.html.j2", status=401, detail="")
    else:
        answer = page(request, "problem.html.j2", status=problem["status"], problem=problem)
    kept = ("retry-after", "www-authenticate")
    answer.headers.update({name: value for name, value in said.headers.items() if name in kept})
    return answer
