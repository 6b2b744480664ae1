"""Senders over the HTTP APIs of mail providers: each is a `Transport`, as a pool of SMTP connections is.

A provider is one file: how a letter is put into its request, and what its answers mean. `http_api` has what they
share. aiohttp (`errand[providers]`) is imported here alone, and by workers that send so.
"""
