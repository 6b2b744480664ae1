"""Keeps secrets out of logs, errors and views: redaction of texts, and args that a model marks as secret.

Public: `redaction.hide` and `redaction.configure`, `secret_args.shown`, `kept` and `hider`. Imports no other room.
"""
