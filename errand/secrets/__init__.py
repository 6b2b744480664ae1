"""Keeps secrets out of logs, errors and views: redaction of texts, and args that a model marks as secret.

Imports no other room.
"""
