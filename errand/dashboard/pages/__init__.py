"""One file for each page, and one for each kind of action: routes that read, act, and choose a template.

They call the functions behind the API's routes, so that both always show and allow the same.
"""
