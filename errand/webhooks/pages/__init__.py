"""Pages for those who receive webhooks: what each event carries, and code that verifies it. Real HTML without scripts.

It knows no HTTP route: it is given what to show and returns text. Jinja2 is loaded when a first page is rendered.
"""

from errand.webhooks.pages.event_pages import event_page, events_page
from errand.webhooks.pages.portal_pages import Given, Portal
from errand.webhooks.pages.render import Nav, Page, can_render, policy, problem_page
from errand.webhooks.pages.snippets import LANGUAGES, snippet

__all__ = [
    "LANGUAGES",
    "Given",
    "Nav",
    "Page",
    "Portal",
    "can_render",
    "event_page",
    "events_page",
    "policy",
    "problem_page",
    "snippet",
]
