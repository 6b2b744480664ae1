"""Ids of jobs sort by the time they were made, whether they are made one by one or many at once."""

from __future__ import annotations

import time
from uuid import UUID

from errand.wire.job_id import new_job_id, new_job_ids


def test_ids_are_uuids_of_version_7_that_grow() -> None:
    ids = [new_job_id(), *new_job_ids(10_000), new_job_id(), *new_job_ids(3), new_job_id()]
    assert ids == sorted(set(ids)) and len(ids) == 10_006
    assert {(UUID(each).version, UUID(each).variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert abs((UUID(ids[-1]).int >> 80) - time.time() * 1000) < 60_000
    assert new_job_ids(0) == []
