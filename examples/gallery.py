"""An image gallery: a photo is uploaded, and the page shows live how far the worker is, then the picture.

make run                                                # Errand's API and a worker, which knows `resize`
.venv/bin/uvicorn examples.gallery:app --port 8001      # this app, in a second terminal; open it in a browser
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, UploadFile
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from errand import Client, JobFailed, JobHandle, Jobs, jobs_lifespan
from errand.images import Size
from errand.job.stored_file import FILES_PATH
from errand.resources.storage import Storage
from jobs.resize import Resized, resize
from settings import Settings

settings = Settings.read()

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Gallery</title>
<h1>Gallery</h1>
<form><label>A photo: <input type="file" name="photo" accept="image/*" required></label> <button>Upload</button></form>
<p role="status"></p><progress max="1" value="0" hidden></progress>
<div id="photos"></div>
<script>
const form = document.forms[0], note = document.querySelector("p"), bar = document.querySelector("progress");
form.addEventListener("submit", async event => {
  event.preventDefault();
  const answer = await fetch("/photos", {method: "POST", body: new FormData(form)});
  const {job} = await answer.json();
  bar.hidden = false;
  const events = new EventSource(`/photos/${job}/events`);
  events.onmessage = ({data}) => {
    const {status, fraction, note: said} = JSON.parse(data);
    note.textContent = said || status;
    bar.value = fraction;
    if (!["succeeded", "failed", "cancelled"].includes(status)) return;
    events.close();
    bar.hidden = true;
    if (status === "succeeded") photos.append(Object.assign(new Image(), {src: `/photos/${job}`, alt: "a photo"}));
  };
});
</script></html>
"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Beside what puts jobs, a client that asks what becomes of them."""
    async with jobs_lifespan(settings)(app) as state, Client(settings) as client:
        yield {**state, "client": client, "storage": Storage.at(settings.files_url)}


app = FastAPI(title="Gallery", lifespan=lifespan)


async def photo_of(job: str, request: Request) -> JobHandle[Resized]:
    """The job that makes the picture."""
    client: Client = request.state.client
    photo = client.job(job, resize)
    try:
        await photo.status()
    except LookupError:
        raise HTTPException(404, "there is no such photo") from None
    return photo


Photo = Annotated[JobHandle[Resized], Depends(photo_of)]


class Uploaded(BaseModel):
    """The job that makes the picture."""

    job: str


class Seen(BaseModel):
    """How far a photo is."""

    status: str
    fraction: float = 0
    note: str = ""


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    """The gallery."""
    return PAGE


@app.post("/photos", status_code=202)
async def upload(photo: UploadFile, jobs: Jobs) -> Uploaded:
    """Stores the photo; a worker makes a picture of it that fits the page."""
    job = jobs.add_task(resize, file=await jobs.store(photo), sizes=[Size(width=480, format="webp")])
    return Uploaded(job=job.id)


@app.get("/photos/{job}/events", response_class=EventSourceResponse)
async def watch(photo: Photo) -> AsyncIterator[ServerSentEvent]:
    """Each change and each report of progress as it happens, until the end."""
    async for event in photo.events():
        seen = Seen(status=event.status)
        if event.progress is not None:
            seen = Seen(status=event.status, fraction=event.progress.fraction, note=event.progress.note)
        yield ServerSentEvent(data=seen)


@app.get("/photos/{job}")
async def picture(photo: Photo, request: Request) -> StreamingResponse:
    """The picture, if it is made."""
    storage: Storage = request.state.storage
    try:
        made = await photo.result(timeout_s=1)
        key = made.outputs[0].url.removeprefix(FILES_PATH)
        size = (await storage.info(key)).size_bytes
    except (JobFailed, TimeoutError, LookupError):
        raise HTTPException(404, "there is no picture of it") from None
    return StreamingResponse(storage.read(key), media_type="image/webp", headers={"content-length": str(size)})
