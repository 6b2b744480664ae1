"""`make screenshots`: the pictures in the docs of what people see, taken by Chromium.

`browser` drives it; each other file is a subject, with a coroutine `take(browser, folder)` that writes its pictures.
"""
