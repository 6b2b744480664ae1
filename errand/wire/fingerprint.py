"""Names the fault behind an error, so that dead jobs of one cause are found, counted and replayed together.

A fingerprint is the error's class and where our side of it was: `KeyError@myapp.jobs:send_report`. It names
module and function, not file and line: the same on every machine, and after an edit elsewhere in the file. If the job
says who or what has the fault, that comes first: `acme-billing/Fail@myapp.jobs:deliver`.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterable
from types import CodeType, FrameType

LIMIT_CHARS = 200


ABOUT_LIMIT_CHARS = 64
"""As long as the ids of webhook endpoints and schedules may be."""


ROOMS_OF_JOBS = ("errand.jobs.", "errand.mail.", "errand.webhooks.", "errand.images.")
"""Frames of Errand's other rooms, which run every job type, say nothing of the one that failed."""


_STANDARD_LIBRARY = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})


_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]")


_IN_PASSING = re.compile(r"(\.<locals>\.<(?:listcomp|setcomp|dictcomp|genexpr)>)+$")
"""A comprehension is a frame of its own until Python 3.12, and none from then on."""


def of(error: BaseException, *, about: str = "") -> str:
    """The class of `error` and its innermost own frame, behind what the error is about, if the job says that; the class
    alone if no frame is ours.

    Own is what was not installed, and the package of the job function itself if that was.
    """
    name, origin = type(error).__name__, _own_origin(error)
    fault = name if origin is None else f"{name}@{origin}"
    return token(f"{about_word(about)}/{fault}" if about else fault)


def about_word(text: str) -> str:
    """What an error is about, as fingerprints have it."""
    return token(text, limit_chars=ABOUT_LIMIT_CHARS).replace("/", "_")


def about_in(mark: str) -> str:
    """What the error with that fingerprint is about; '' if the job does not say that."""
    about, slash, _ = mark.partition("/")
    return about if slash else ""


def token(text: str, *, limit_chars: int = LIMIT_CHARS) -> str:
    """`text` as one word of bounded length: the indexes of dead jobs put such words side by side."""
    cut = text[:limit_chars] or "_"
    if cut.isprintable() and " " not in cut:
        return cut
    # of all that is blank only the space itself counts as printable
    return "".join(char if char.isprintable() and char != " " else "_" for char in cut)


def _own_origin(error: BaseException) -> str | None:
    frame = innermost_own(frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return frame and f"{_module(frame)}:{_function(frame.f_code)}"


def innermost_own(frames: Iterable[FrameType]) -> FrameType | None:
    """The last of the frames, outermost first, that is a job's own code; None if there is none."""
    home, found = None, None
    for frame in frames:
        module, file = _module(frame), frame.f_code.co_filename
        if _runs_every_job(module) or _is_standard(file):
            continue
        package = module.partition(".")[0]
        home = home or package
        if package == home or not _INSTALLED.search(file):
            found = frame
    return found


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _runs_every_job(module: str) -> bool:
    return module.startswith("errand.") and not module.startswith(ROOMS_OF_JOBS)


def _is_standard(file: str) -> bool:
    """Python's own, or text that was never a file, such as the methods that `dataclass` writes."""
    return file.startswith("<") or (file.startswith(_STANDARD_LIBRARY) and not _INSTALLED.search(file))


def _function(code: CodeType) -> str:
    return _IN_PASSING.sub("", code.co_qualname)
