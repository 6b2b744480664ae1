"""Our worker takes what Arq's takes: `WorkerSettings` drops every name that is not in the signature."""

from __future__ import annotations

import inspect

import arq
import arq.worker

from errand.worker.arq_options import ArqOptions
from errand.worker.worker import Worker


def test_every_parameter_of_arqs_worker_is_taken_with_its_default() -> None:
    ours, stock = inspect.signature(Worker).parameters, inspect.signature(arq.Worker).parameters
    assert {name: ours[name].default for name in stock} == {name: one.default for name, one in stock.items()}
    assert set(ArqOptions.__annotations__) == set(stock) - {"functions"}
