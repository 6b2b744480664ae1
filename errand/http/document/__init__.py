"""The OpenAPI document, its examples, and the pages that show it to people.

Only what follows from a rule for all routes is here; what is a route's own stands beside the route. `openapi.install`
and `pages.install` add the routes to the app.
"""
