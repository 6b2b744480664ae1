"""The dashboard: pages for people, made on the server, that work without scripts.

`pages/` has one file for each page and for each kind of action; it reads and acts by the functions that the API's
routes use, so that a page shows and may do what the API does. `templates/` has the HTML (Jinja2, everything escaped),
`static/` the style sheet, the script and the icons, `charts/` draws SVG. `gate.py` says who may, `session.py` keeps
people signed in, `rendering.py` makes a page of a template, `page_route.py` makes a page of an error.

Nothing here decides what becomes of a job, and nothing is loaded from another host. Jinja2 is loaded with the first
page, so that an API that nobody looks at does not pay for it.

Public: `router.router`.
"""
