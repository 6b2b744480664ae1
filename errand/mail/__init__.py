"""Letters and the way they go: composing a message, SMTP connections, the mail sink of a developer's machine.

Knows no job type.
"""
