"""The command `errand`: starts API and workers, looks for what may cost jobs, makes API keys.

Each command imports what it needs when it runs, so that `errand worker` loads no FastAPI and `errand key` neither
FastAPI nor what a worker opens.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer

from errand.cli.program import EndWithStdin, execute, new_app
from errand.settings import Settings
from errand.settings.units import parse_processes
from errand.version import VERSION

HELP = """FastAPI's BackgroundTasks made durable, on Arq's Redis queue.

Settings are read from the environment and from .env (ENV_FILE names another file). Without REDIS_URL an embedded Redis
is started, which keeps its data in DATA_DIR.
"""

app = new_app(help=HELP)

Packages = Annotated[
    list[str] | None,
    typer.Option(
        "--packages",
        metavar="PACKAGE",
        help="A package or module with your job types, such as myapp.jobs. Give it several times, or separate several"
        " with commas. Replaces JOB_PACKAGES. If neither is given: the job types that Errand ships.",
    ),
]

Processes = Annotated[
    str | None,
    typer.Option("--processes", metavar="N", help="How many, or 'auto': one for each processor. Replaces the setting."),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print each finding as a JSON object in a line of its own.")]

Scopes = Annotated[
    str, typer.Argument(metavar="SCOPES", help="read, write, admin, joined by '+'. Without any: all three.")
]


KeyName = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Whose key it is: shown in the log, with what it changes.")
]

Expires = Annotated[
    str, typer.Option("--expires", metavar="DATE", help="Until when it is valid, such as 2027-01-31 (UTC).")
]


RedisUrlArgument = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        envvar="ERRAND_MOVE_URL",
        help="As REDIS_URL; in ERRAND_MOVE_URL no other user sees its password.",
    ),
]


def main(*, prog: str = "errand") -> None:
    """Runs the command that the process's arguments name; without any, shows the help."""
    execute(app, prog=prog, arguments=sys.argv[1:] or ["--help"])


@app.command()
def run(packages: Packages = None) -> None:
    """Start the API and a worker as two processes, until Ctrl-C.

    Their logs are printed with a prefix. If one of them ends, the other is stopped and the exit code is 1.
    """
    from errand.process.start import check_importable
    from errand.server import run as processes

    settings = _settings(packages)
    check_importable(settings.packages)
    raise typer.Exit(processes.run(settings, _api_and_worker(settings)))


@app.command()
def dev(packages: Packages = None) -> None:
    """Start the API and a worker, and start both again when a file changes, until Ctrl-C.

    Python files, templates and .env are watched, in the current folder and where the packages are. What runs is handed
    back to the queue before, and costs no try.
    """
    from errand.process.start import check_importable
    from errand.server import dev as development

    settings = _settings(packages)
    check_importable(settings.packages)
    env_file = os.environ.get("ENV_FILE")
    raise typer.Exit(development.run(settings, _api_and_worker(settings), folder=Path.cwd(), env_file=env_file))


@app.command()
def api(packages: Packages = None, processes: Processes = None, end_with_stdin: EndWithStdin = False) -> None:
    """Serve the HTTP API, until Ctrl-C or SIGTERM.

    HOST and PORT name the address; the default is 127.0.0.1:8000. With several processes (API_PROCESSES) one more
    supervises them; all share the address.
    """
    from errand.server import process

    settings = _with_processes(_settings(packages), "api_processes", processes)
    process.run(settings, read_again=partial(_settings, packages))


@app.command()
def worker(packages: Packages = None, processes: Processes = None, end_with_stdin: EndWithStdin = False) -> None:
    """Run jobs, until Ctrl-C or SIGTERM. Start as many workers as you like.

    The first signal lets running jobs end for up to DRAIN_S seconds; a second one hands them back to the queue at once.
    With several processes (WORKER_PROCESSES) one more supervises them: it starts one again that dies.
    """
    from errand.process import worker as process

    process.run(_with_processes(_settings(packages), "worker_processes", processes))


@app.command()
def doctor(packages: Packages = None, as_json: AsJson = False) -> None:
    """Look for what may cost jobs.

    Redis, its settings, the queues, the storage and the mail server are looked at. The exit code is 1 if there is a
    warning.
    """
    from errand.cli.doctor import report

    code = report(_settings(packages), as_json=as_json)
    sys.stdout.flush()
    # not typer.Exit: obstore's threads, with a file just written, can abort an interpreter that is taken down at once
    os._exit(code)


@app.command()
def health(
    of: Annotated[Literal["api", "worker"], typer.Argument(metavar="[api|worker]", help="Which one.")] = "api",
) -> None:
    """Say whether the API, or the worker, of this machine or container is healthy: exit code 0 or 1.

    The API answers GET /healthz. A worker is healthy if Redis has had its heartbeat lately; if Redis cannot be asked
    that is no fault of the worker's. For health checks of containers that have no curl.
    """
    from errand.cli.health import fault_of_api, fault_of_worker

    fault = (fault_of_api if of == "api" else fault_of_worker)(Settings.read())
    print(fault or "healthy")
    raise typer.Exit(int(fault is not None))


@app.command()
def top(
    job_id: Annotated[str | None, typer.Argument(metavar="JOB", help="The id of a job, to follow that one.")] = None,
    packages: Packages = None,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How often to look.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print what is there now, and end.")] = False,
) -> None:
    """Show queues, workers and the newest jobs in the terminal, live, until Ctrl-C or q; ? shows all keys.

    It reads Redis as the settings name it, and needs no API.
    """
    from errand.cli.top import show

    raise typer.Exit(show(_settings(packages), job_id=job_id, every_s=every, once=once))


@app.command()
def key(scopes: Scopes = "", name: KeyName = "", expires: Expires = "") -> None:
    """Make an API key, and its entry for API_KEYS.

    The entry holds a hash: the key itself is stored nowhere and shown once. Two keys of one name are one client: give
    out the new one, then remove the entry of the old. Example: errand key read+write --name ci --expires 2027-01-31
    """
    from errand.cli.key import entry_of, new_key

    secret = new_key()
    try:
        entry = entry_of(secret, scopes=scopes, name=name, expires=expires)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    print(f"key    {secret}")
    print("       give it to the caller of the API ('Authorization: Bearer KEY'); it is stored nowhere and shown once")
    print(f"entry  {entry}")
    print("       add it to API_KEYS (entries are separated by commas): it is a hash, not a secret")


@app.command()
def webhook_secret(url: Annotated[str, typer.Argument(metavar="URL", help="as it stands in the jobs")]) -> None:
    """Print the secret with which the receiver at URL verifies its webhooks.

    It is that receiver's own: give it to nobody else.
    """
    from pydantic import HttpUrl, TypeAdapter, ValidationError

    from errand.webhooks.secret import installation_secret, secret_of_url

    try:
        known = TypeAdapter(HttpUrl).validate_python(url)
    except ValidationError:
        raise typer.BadParameter("URL must be http:// or https://") from None
    print(secret_of_url(installation_secret(_settings(None)), str(known)))


@app.command()
def listen(
    forward: Annotated[str, typer.Option(metavar="URL", help="Where to post them, such as http://localhost:3000")],
    api: Annotated[str, typer.Option(metavar="URL", help="The API. Unless given: that of HOST and PORT.")] = "",
    key: Annotated[
        str, typer.Option(envvar="ERRAND_KEY", metavar="KEY", help="A key of the API with the scope read.")
    ] = "",
    events: Annotated[
        list[str] | None, typer.Option(metavar="FILTER", help="Which, such as invoice.*; may be given several times.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="TENANT", help="Those of this tenant alone.")] = None,
    secret: Annotated[
        str,
        typer.Option(
            envvar="ERRAND_LISTEN_SECRET",
            metavar="SECRET",
            help="whsec_… to sign with. Else made once, in DATA_DIR.",
        ),
    ] = "",
) -> None:
    """Receive the webhook events of an API on this machine, until Ctrl-C.

    Each event that POST /v1/webhook-events takes is posted to URL, signed as a delivery is, and takes a line of the
    log. Nothing is posted twice: what your program answers is shown, and that is all.
    """
    from errand.cli.listen import Listening, ListenRefused
    from errand.cli.listen import listen as follow

    settings = _settings(None)
    listening = Listening(
        api=_web_url(api, "--api") if api else f"http://{settings.host}:{settings.port}",
        forward=_web_url(forward, "--forward"),
        secret=_signing_secret(secret, settings),
        key=key,
        events=events or (),
        tenant=tenant,
    )
    print(f"verify with    {listening.secret}")
    print(f"from           {listening.stream}")
    print(f"to             {listening.forward}", flush=True)
    try:
        follow(listening, say=partial(print, flush=True))
    except ListenRefused as error:
        raise typer.TyperException(str(error)) from None


@app.command()
def move(
    url: RedisUrlArgument,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up a move that was not completed.")] = False,
    beside_other_data: Annotated[
        bool, typer.Option("--beside-other-data", help="The new server may hold keys of other programs.")
    ] = False,
    ignore_connections: Annotated[
        bool, typer.Option("--ignore-connections", help="Others may be connected to the old server.")
    ] = False,
) -> None:
    """Move all jobs, schedules and records from this installation's Redis to the one at URL.

    Stop API and workers first. Everything is copied, compared, and then removed from the old server, on which nothing
    starts any more. If it is interrupted, run it again: until the end the old server has everything.
    """
    from errand.cli.move import move as moved

    raise typer.Exit(
        moved(
            _settings(None),
            _redis_url(url),
            cancel=cancel,
            beside_other_data=beside_other_data,
            ignore_connections=ignore_connections,
        )
    )


@app.command()
def move_from_arq(
    url: RedisUrlArgument,
    arq_queue: Annotated[str, typer.Option("--arq-queue", metavar="KEY", help="The key of Arq's queue.")] = "arq:queue",
    packages: Packages = None,
) -> None:
    """Move the waiting jobs of a stock Arq queue in the Redis at URL to this installation's.

    They keep their ids, times and tries; args that were given by position get the names of the job type's model. What
    cannot be moved stays, is counted with its reason, and makes the exit code 3. It may be run again.
    """
    from errand.cli.move import move_from_arq as moved

    raise typer.Exit(moved(_settings(packages), _redis_url(url), arq_queue=arq_queue))


@app.command()
def version() -> None:
    """Print the version of Errand."""
    print(f"errand {VERSION}")


def _redis_url(url: str) -> str:
    from errand.redis_url import RedisUrl

    try:
        RedisUrl.parse(url)
    except ValueError as error:
        raise typer.BadParameter(f"URL {error}") from None
    return url


def _web_url(url: str, option: str) -> str:
    with suppress(ValueError):  # as of `http://[`
        if urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname:
            return url
    raise typer.BadParameter(f"{option} must be a URL with http:// or https://")


def _signing_secret(given: str, settings: Settings) -> str:
    from pydantic import TypeAdapter, ValidationError

    from errand.settings.webhooks import SigningSecret
    from errand.webhooks.secret import kept_secret

    if not given:
        return kept_secret(settings.data_dir / "listen_secret")
    try:
        TypeAdapter(SigningSecret).validate_python(given)
    except ValidationError:
        raise typer.BadParameter("--secret must be whsec_ and the base64 of 24 to 64 bytes") from None
    return given


def _api_and_worker(settings: Settings) -> dict[str, list[str]]:
    """The programs of `errand run`: the arguments of each for Python."""
    chosen = ["--packages", ",".join(settings.packages)]
    return {name: ["-m", "errand", name, *chosen] for name in ("api", "worker")}


def _with_processes(settings: Settings, name: str, given: str | None) -> Settings:
    """The settings with that number of processes, if one was given."""
    if given is None:
        return settings
    try:
        return settings.model_copy(update={name: parse_processes(given)})
    except ValueError as error:
        raise typer.BadParameter(f"--processes {error}") from None


def _settings(packages: list[str] | None) -> Settings:
    """The settings of this process, with `--packages` instead of `JOB_PACKAGES`."""
    settings = Settings.read()
    if packages is None:
        return settings
    named = tuple(name for text in packages for part in text.split(",") if (name := part.strip()))
    if not named:
        raise typer.BadParameter("--packages must name a package")
    return settings.model_copy(update={"job_packages": named})
