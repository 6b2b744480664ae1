"""The shop: one route, which sells a book.

.venv/bin/uvicorn examples.bookshop.app:app
JOB_PACKAGES=examples.bookshop.jobs .venv/bin/python -m errand worker
"""

from __future__ import annotations

from fastapi import FastAPI, HTTPException

from errand import Jobs, Settings, jobs_lifespan
from examples.bookshop.jobs import Sale, send_parcel, send_receipt

settings = Settings.read().model_copy(update={"job_packages": ("examples.bookshop.jobs",)})
app = FastAPI(title="Bookshop", lifespan=jobs_lifespan(settings))


@app.post("/sales", status_code=201)
async def sell(sale: Sale, jobs: Jobs) -> dict[str, str]:
    """The receipt and the parcel are in Redis before the answer leaves; neither is, if it is an error."""
    jobs.add_task(send_receipt, sale)
    parcel = jobs.add_task(send_parcel, sale)
    if sale.title == "out of print":
        raise HTTPException(404, "nobody prints it any more")
    return {"parcel": parcel.id}
