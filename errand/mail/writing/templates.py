"""The templates of letters: one for each message and language, with a layout that they share.

`welcome.html.j2` has the message, with its subject in the block `subject`; `welcome.txt.j2` its text, made from
the HTML if there is none; `welcome.de.html.j2` the same in German. A file in `TEMPLATE_DIR` stands in for the shipped
one of its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from errand.mail.writing.inline_styles import with_inline_styles
from errand.mail.writing.message import TEMPLATE_NAME
from errand.mail.writing.plain_text import plain_text

FILE = re.compile(r"(?P<name>[a-z0-9][a-z0-9_-]*)(\.(?P<locale>[A-Za-z0-9-]+))?\.(?P<form>html|txt)\.j2")


SHARED = ("layout", "_")
"""Files whose names begin so are parts of others."""


class TemplateFault(Exception):
    """A template is missing, or cannot be rendered with these data."""


class TemplateAway(TemplateFault):
    """It is missing, cannot be read, or has a fault of its own: whatever the data, it may be right in a moment."""


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """A message as its template says it."""

    subject: str
    text: str
    html: str | None


class Templates:
    """Those of `TEMPLATE_DIR`, and behind them those that ship with Errand."""

    def __init__(self, folder: Path | None = None) -> None:
        shipped = jinja2.PackageLoader("errand.mail")
        own = [jinja2.FileSystemLoader(folder)] if folder else []
        loader = jinja2.ChoiceLoader([*own, shipped])
        self._html = _environment(loader, autoescape=True)
        self._text = _environment(loader, autoescape=False)

    def check(self) -> None:
        """Compiles every template. Raises ValueError, which names the file and the line of what is wrong."""
        for file in self._text.list_templates(filter_func=lambda name: name.endswith(".j2")):
            try:
                template = self._text.get_template(file)
            except jinja2.TemplateSyntaxError as error:
                raise ValueError(f"TEMPLATE_DIR: {file}, line {error.lineno}: {error.message}") from None
            except UnicodeDecodeError:
                raise ValueError(f"TEMPLATE_DIR: {file} is not UTF-8 text") from None
            self._check_subject(file, template)

    def names(self) -> dict[str, list[str]]:
        """The name of each message, in their order, with the languages that have a template of their own for it."""
        names: dict[str, set[str]] = {}
        for file in self._text.list_templates():
            found = FILE.fullmatch(file)
            if found and not file.startswith(SHARED):
                names.setdefault(found["name"], set()).update([found["locale"]] if found["locale"] else ())
        return {name: sorted(locales) for name, locales in sorted(names.items())}

    def render(self, name: str, locale: str | None, known: Mapping[str, Any]) -> RenderedMail:
        """The message of that name, in the locale or the nearest there is. Raises TemplateAway, TemplateFault."""
        if not re.fullmatch(TEMPLATE_NAME, name):
            raise TemplateFault(f"{name!r} is no name of a template")
        html_file, text_file = self._find(name, locale, "html"), self._find(name, locale, "txt")
        source = html_file or text_file
        if source is None:
            raise TemplateAway(f"there is no template {name}.html.j2")
        try:
            subject = self._subject(source, known)
            with_subject = {**known, "subject": subject}
            html = _without_subject(self._html.get_template(html_file), with_subject) if html_file else None
            text = _without_subject(self._text.get_template(text_file), with_subject) if text_file else None
        except (jinja2.TemplateSyntaxError, jinja2.TemplateNotFound) as error:  # of what it extends or includes
            raise TemplateAway(f"template {name}: {error.message}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateAway(f"template {name}: {type(error).__name__}") from None
        except TemplateFault:
            raise
        except jinja2.TemplateError as error:
            raise TemplateFault(f"template {name}: {error.message}") from None
        except Exception as error:  # noqa: BLE001  # of an expression in the template, with these data
            raise TemplateFault(f"template {name}: {type(error).__name__}: {error}") from None
        return RenderedMail(
            subject=subject,
            text=(plain_text(html or "") if text is None else text).strip() + "\n",
            html=html and with_inline_styles(html),
        )

    def _find(self, name: str, locale: str | None, form: str) -> str | None:
        for file in _candidates(name, locale, form):
            try:
                self._text.get_template(file)
            except jinja2.TemplateNotFound:
                continue
            except jinja2.TemplateSyntaxError as error:
                raise TemplateAway(f"{file}, line {error.lineno}: {error.message}") from None
            except (OSError, UnicodeDecodeError) as error:
                raise TemplateAway(f"{file}: {type(error).__name__}") from None
            return file
        return None

    def _subject(self, file: str, known: Mapping[str, Any]) -> str:
        """Its block `subject` on one line, without escapes: a header is no HTML."""
        template = self._text.get_template(file)
        block = template.blocks.get("subject")
        if block is None:
            raise TemplateAway(f"{file} has no block 'subject'")
        subject = "".join(block(template.new_context(dict(known))))
        # no pattern for the blanks around them: it would begin anew at each blank
        return " ".join(line.strip(" \t") for line in re.split(r"[\r\n]+", subject)).strip(" ")

    def _check_subject(self, file: str, template: jinja2.Template) -> None:
        found = FILE.fullmatch(file)
        if file.startswith(SHARED) or (found and found["form"] == "txt"):
            return
        if found is None:
            raise ValueError(f"TEMPLATE_DIR: {file} is not named NAME.html.j2, NAME.txt.j2 or NAME.LOCALE.html.j2")
        if "subject" not in template.blocks:
            raise ValueError(f"TEMPLATE_DIR: {file} has no block 'subject'")


def _without_subject(template: jinja2.Template, known: Mapping[str, Any]) -> str:
    """The body alone: a template without a layout would show its subject where it stands."""
    context = template.new_context(dict(known))
    context.blocks["subject"] = [lambda _: iter(())]
    return "".join(template.root_render_func(context))


def web_url(url: object) -> str:
    """A filter: the URL, if a reader may follow it. Raises ValueError for `javascript:` and the like."""
    if not isinstance(url, str) or not re.match(r"https?://[^\s\"'<>]+\Z", url):
        raise ValueError("a link must begin with http:// or https://")
    return url


def _environment(loader: jinja2.BaseLoader, *, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=loader,
        autoescape=autoescape,  # noqa: S701  # off for subjects and text, which are no HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["web_url"] = web_url
    return environment


def _candidates(name: str, locale: str | None, form: str) -> Iterator[str]:
    """`welcome.pt-BR`, `welcome.pt`, `welcome`: the nearest first."""
    parts = locale.split("-") if locale else []
    for length in range(len(parts), 0, -1):
        yield f"{name}.{'-'.join(parts[:length])}.{form}.j2"
    yield f"{name}.{form}.j2"
