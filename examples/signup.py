"""A small app of your own with durable background jobs: sign up, greet, resize an avatar.

    make run                                                # Errand's API and a worker
    .venv/bin/uvicorn examples.signup:app --port 8001       # this app, in a second terminal; try /docs

They find each other by the settings that they share; without any, by the embedded Redis under `var`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Response, UploadFile
from pydantic import BaseModel, EmailStr, HttpUrl

from errand import Jobs, jobs_lifespan
from errand.images import Size
from jobs.resize import resize
from jobs.webhook import webhook
from jobs.welcome_email import WelcomeEmail, welcome_email
from settings import Settings

settings = Settings.read()
app = FastAPI(title="Sign up", lifespan=jobs_lifespan(settings))

DATABASE = settings.data_dir / "signup.db"
AUDIT_LOG = settings.data_dir / "audit.log"
EVENTS_URL = HttpUrl(f"http://127.0.0.1:{settings.webhook_sink_port}/")
"""The receiver of an event for each new user; here Errand's own sink, which keeps events in `var/webhooks`."""


def transaction() -> Iterator[sqlite3.Connection]:
    """One transaction for the request: committed when the route has returned, rolled back if it raises."""
    database = sqlite3.connect(DATABASE, check_same_thread=False)  # FastAPI's threads take turns with it
    try:
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT)")
            yield database
    finally:
        database.close()


# the scope `function` ends before the response leaves, as that of `Jobs` does
Database = Annotated[sqlite3.Connection, Depends(transaction, scope="function")]


class NewUser(BaseModel):
    """A person who signs up."""

    email: EmailStr
    name: str


class User(NewUser):
    """A person who has signed up."""

    id: int


# FastAPI closes the first dependency last: the jobs are put, then the row is committed. If they cannot be put, there
# is no row either: the client receives a 503 and may try again.
def registered(new: NewUser, database: Database, jobs: Jobs) -> User:
    """The user's row; a route that depends on it also announces the new user."""
    try:
        row = database.execute("INSERT INTO users (email, name) VALUES (?, ?)", (new.email, new.name))
    except sqlite3.IntegrityError:
        raise HTTPException(409, f"{new.email} has signed up before") from None
    user = User(id=int(row.lastrowid or 0), email=new.email, name=new.name)
    jobs.add_task(webhook, url=EVENTS_URL, event="user.created", data=user.model_dump())
    return user


@app.post("/signup", status_code=201)
def signup(user: Annotated[User, Depends(registered)], jobs: Jobs, best_effort: BackgroundTasks) -> User:
    """A row, a letter that survives any crash, and a line in a log that may be lost."""
    jobs.add_task(welcome_email, to=user.email, name=user.name)
    best_effort.add_task(note, f"{user.email} signed up")
    return user


class Accepted(BaseModel):
    """Jobs that will run; Errand's API shows them at `/v1/jobs/{id}`."""

    jobs: list[str]


@app.post("/users/{id}/avatar", status_code=202)
async def change_avatar(id: int, picture: UploadFile, jobs: Jobs, response: Response) -> Accepted:
    """Stores the upload; a worker resizes it in its process pool."""
    sizes = [Size(width=256, height=256, fit="cover"), Size(width=64, height=64, fit="cover", format="webp")]
    job = jobs.add_task(resize, file=await jobs.store(picture), sizes=sizes)
    response.headers["Location"] = f"http://{settings.host}:{settings.port}{job.path}"
    return Accepted(jobs=[job.id])


@app.post("/invite", status_code=202)
async def invite(people: list[NewUser], jobs: Jobs) -> Accepted:
    """A letter to each person, in this order. A letter that cannot be delivered fails alone; the others are sent."""
    added = [jobs.add_task(welcome_email, WelcomeEmail(to=person.email, name=person.name)) for person in people]
    return Accepted(jobs=[job.id for job in added])


@app.post("/notify", status_code=202)
async def notify(email: EmailStr, best_effort: BackgroundTasks) -> None:
    """Best effort: this process writes the line after it has answered, or never."""
    best_effort.add_task(note, f"a notice for {email}")


def note(line: str) -> None:
    """One line in the audit log."""
    with AUDIT_LOG.open("a") as log:
        log.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
