"""A new job type is one new module: its route, validation, schema and worker follow from `@job`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.conftest import ROOT, House

MODULE = '''
"""Says something louder."""
from pydantic import BaseModel, Field
from errand import Context, job

class Shout(BaseModel):
    text: str = Field(min_length=1)

@job(max_tries=2, examples=[{"text": "hello"}])
async def shout(ctx: Context, args: Shout) -> str:
    """Turns a text to upper case."""
    return args.text.upper()
'''


@pytest.fixture
def dropped_into_the_house(new_house: Callable[..., House], tmp_path: Path) -> House:
    """A copy of the project with one more file under `jobs/`, and no other change."""
    root = tmp_path / "copy"
    for name in ("errand", "service", "jobs"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "settings.py", root)
    (root / "jobs" / "shout.py").write_text(MODULE)
    return new_house(root=root)


@pytest.fixture
def in_a_package_of_its_own(new_house: Callable[..., House], tmp_path: Path) -> House:
    """A package elsewhere, named by `JOB_PACKAGES`."""
    package = tmp_path / "elsewhere" / "acme_jobs"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "shout.py").write_text(MODULE)
    path = f"{ROOT}:{tmp_path / 'elsewhere'}"
    return new_house(environment={"JOB_PACKAGES": "acme_jobs", "PYTHONPATH": path})


@pytest.mark.parametrize("fixture", ["dropped_into_the_house", "in_a_package_of_its_own"])
def test_a_dropped_module_has_its_route_schema_and_worker(fixture: str, request: pytest.FixtureRequest) -> None:
    house: House = request.getfixturevalue(fixture)
    house.api()
    house.worker()
    done = house.ended(house.post("/v1/jobs/shout", json={"text": "hello"}))
    assert (done["status"], done["result"], done["max_tries"]) == ("succeeded", "HELLO", 2)
    refused = house.post("/v1/jobs/shout", expect=422, json={"text": ""})
    assert refused["errors"][0]["field"] == "body.text"
    document = house.http.get(f"{house.url}/openapi.json").json()
    operation = document["paths"]["/v1/jobs/shout"]["post"]
    assert operation["summary"] == "Turns a text to upper case."
    assert document["components"]["schemas"]["Shout"]["required"] == ["text"]
    types = {job_type["name"]: job_type for job_type in house.http.get(f"{house.url}/v1/job-types").json()}
    assert types["shout"]["args_schema"]["properties"]["text"]["minLength"] == 1
