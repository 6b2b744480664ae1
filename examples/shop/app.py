"""The shop: its routes put jobs, and say where to look at them.

.venv/bin/uvicorn examples.shop.app:app --port 8001
JOB_PACKAGES=examples.shop.jobs,jobs .venv/bin/python -m errand worker    # and `errand api` with the same, on port 8000
"""

from __future__ import annotations

from uuid import uuid4

from fastapi import FastAPI
from pydantic import BaseModel, EmailStr, HttpUrl, SecretStr

from errand import Jobs, Settings, jobs_lifespan
from examples.shop.jobs import charge
from jobs.welcome_email import welcome_email

# outside of this repository the shipped ones are `errand.jobs`
settings = Settings.read().model_copy(update={"job_packages": ("examples.shop.jobs", "jobs")})
app = FastAPI(title="Shop", lifespan=jobs_lifespan(settings))

MERCHANT_URL = HttpUrl(f"http://127.0.0.1:{settings.webhook_sink_port}/")
"""Here Errand's own sink, which keeps events in `var/webhooks`; Errand lets it through in development alone."""


class Customer(BaseModel):
    """Somebody who signs up."""

    email: EmailStr
    name: str


class Basket(BaseModel):
    """What somebody buys, and pays with: titles and prices in cents."""

    items: dict[str, int]
    card: SecretStr


class Accepted(BaseModel):
    """The job of the payment; Errand's API shows it at `/v1/jobs/{job}`."""

    order: str
    job: str


@app.post("/customers", status_code=201)
async def sign_up(customer: Customer, jobs: Jobs) -> Customer:
    """A letter greets the customer."""
    jobs.add_task(welcome_email, to=customer.email, name=customer.name)
    return customer


@app.post("/orders", status_code=202)
async def order(basket: Basket, jobs: Jobs) -> Accepted:
    """The payment is in Redis before the answer leaves; invoice and event follow it."""
    number = str(uuid4())
    paying = jobs.add_task(charge, id=number, items=basket.items, card=basket.card, merchant=MERCHANT_URL)
    return Accepted(order=number, job=paying.id)
