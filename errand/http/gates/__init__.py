"""What every request passes before its route: credentials, limits of size and rate, headers of the answer.

Middlewares (`AnswerHeaders`, `HeadRequests`, `BodyLimit`, `CookieLimit`) and dependencies (`auth.require`,
`known_query`, `rate_limit`). Checks that belong to one route are in `errand.http.requests`.
"""
