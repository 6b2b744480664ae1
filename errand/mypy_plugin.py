"""A mypy plugin: `await welcome_email.enqueue(to=…)` is checked by the fields of the args model.

    [tool.mypy]
    plugins = ["pydantic.mypy", "errand.mypy_plugin"]

Pyright needs none: it makes the parameters of a call of a `type[Model]` that it knows. mypy (2.4) does so only for a
class that is named, and would refuse every arg. Without the plugin mypy takes any args there; the model still checks.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.plugin import MethodSigContext, Plugin
from mypy.types import CallableType, FunctionLike, Instance, ProperType, get_proper_type

ENQUEUE = {
    f"errand.job.{name}.{method}"
    for name in ("job_type.JobType", "producing.enqueuing.Enqueuing", "producing.enqueuing.WithOptions")
    for method in ("enqueue", "s")
}


class ErrandPlugin(Plugin):
    """Gives `enqueue` and `s` the parameters of their job type."""

    def get_method_signature_hook(self, fullname: str) -> Callable[[MethodSigContext], FunctionLike] | None:
        return _with_args_of_model if fullname in ENQUEUE else None


def _with_args_of_model(context: MethodSigContext) -> FunctionLike:
    """The fields of the model by name, unless the call passes an instance of it."""
    signature, job_type = context.default_signature, get_proper_type(context.type)
    by_position = context.args[0]
    if by_position or not isinstance(job_type, Instance) or not job_type.args:
        return signature
    init = _init_of(get_proper_type(job_type.args[0]))
    if init is None:
        return signature
    named = [index for index, kind in enumerate(init.arg_kinds) if kind.is_named()]
    return signature.copy_modified(
        arg_types=[init.arg_types[index] for index in named],
        arg_kinds=[init.arg_kinds[index] for index in named],
        arg_names=[init.arg_names[index] for index in named],
    )


def _init_of(model: ProperType) -> CallableType | None:
    """The `__init__` that pydantic's plugin has made; its types are Any unless `init_typed` is set for that."""
    method = model.type.get_method("__init__") if isinstance(model, Instance) else None
    init = get_proper_type(method.type) if method is not None and method.type is not None else None
    return init if isinstance(init, CallableType) else None


def plugin(version: str) -> type[Plugin]:
    """mypy's entry point."""
    return ErrandPlugin
