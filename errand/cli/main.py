"""The command `errand`: starts API and workers, looks for what may cost jobs, makes API keys.

Each command imports what it needs when it runs, so that `errand worker` loads no FastAPI and `errand key` neither
FastAPI nor what a worker opens.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

import typer

from errand.cli.program import EndWithStdin, execute, new_app
from errand.settings import Settings
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
    chosen = ["--packages", ",".join(settings.packages)]
    raise typer.Exit(processes.run(settings, {name: ["-m", "errand", name, *chosen] for name in ("api", "worker")}))


@app.command()
def api(packages: Packages = None, end_with_stdin: EndWithStdin = False) -> None:
    """Serve the HTTP API, until Ctrl-C or SIGTERM.

    HOST and PORT name the address; the default is 127.0.0.1:8000.
    """
    from errand.server import process

    process.run(_settings(packages), read_again=lambda: _settings(packages))


@app.command()
def worker(packages: Packages = None, end_with_stdin: EndWithStdin = False) -> None:
    """Run jobs, until Ctrl-C or SIGTERM. Start as many workers as you like.

    The first signal lets running jobs end for up to DRAIN_S seconds; a second one hands them back to the queue at once.
    """
    from errand.process import worker as process

    process.run(_settings(packages))


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
def version() -> None:
    """Print the version of Errand."""
    print(f"errand {VERSION}")


def _web_url(url: str, option: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise typer.BadParameter(f"{option} must be a URL with http:// or https://")
    return url


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


def _settings(packages: list[str] | None) -> Settings:
    """The settings of this process, with `--packages` instead of `JOB_PACKAGES`."""
    settings = Settings.read()
    if packages is None:
        return settings
    named = tuple(name for text in packages for part in text.split(",") if (name := part.strip()))
    if not named:
        raise typer.BadParameter("--packages must name a package")
    return settings.model_copy(update={"job_packages": named})
