"""Draws an invoice as PDF: a computation in native code, so a job does it in the process pool."""

from __future__ import annotations

import ctypes
import io
from collections.abc import Sequence

A4 = 595, 842
LEFT, TOP, LINE = 72, 770, 18
"""In points, as all of a PDF."""


def draw(lines: Sequence[str]) -> bytes:
    """One page with these lines."""
    # here: the API and the worker import this module, too, and draw nothing
    import pypdfium2
    from pypdfium2 import raw

    pdf = pypdfium2.PdfDocument.new()
    page = pdf.new_page(*A4)
    font = raw.FPDFText_LoadStandardFont(pdf, b"Helvetica")
    for number, line in enumerate(lines):
        text = raw.FPDFPageObj_CreateTextObj(pdf, font, 12)
        characters = ctypes.create_string_buffer(line.encode("utf-16-le") + b"\0\0")
        raw.FPDFText_SetText(text, ctypes.cast(characters, raw.FPDF_WIDESTRING))
        raw.FPDFPageObj_Transform(text, 1, 0, 0, 1, LEFT, TOP - LINE * number)
        raw.FPDFPage_InsertObject(page, text)
    raw.FPDFPage_GenerateContent(page)
    file = io.BytesIO()
    pdf.save(file)
    return file.getvalue()
