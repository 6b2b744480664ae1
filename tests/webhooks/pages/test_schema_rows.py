"""The fields of an event as its page lists them."""

from __future__ import annotations

from errand.webhooks.pages.schema_rows import rows_of


def test_a_list_that_holds_itself_has_an_end() -> None:
    """As of a recursive type alias."""
    tree = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/Tree"}}]}
    schema = {"properties": {"tree": {"$ref": "#/$defs/Tree"}}, "required": ["tree"], "$defs": {"Tree": tree}}
    (row,) = rows_of(schema)
    assert row.kind.startswith("integer or list of integer or list of") and row.kind.endswith("more of the same")
