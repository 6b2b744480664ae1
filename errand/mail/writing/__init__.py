"""Writes letters: what a job says, its template, the headers and parts, the signature. Nothing here sends.

Public: `Message`, `Attachment`, and the types of args `MailAddress`, `PersonName`, `HeaderText`.
"""
