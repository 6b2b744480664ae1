"""Puts the rules of a template's `<style>` where mail readers keep them: into the elements that they are for."""

from __future__ import annotations

from css_inline import CSSInliner

INLINER = CSSInliner(keep_style_tags=True, remove_inlined_selectors=True, load_remote_stylesheets=False)


def with_inline_styles(html: str) -> str:
    """The HTML with each rule as a `style` of its elements; an element's own `style` wins.

    Rules that no element can hold (`@media`, `:hover`) stay in `<style>`: they need `!important` to win over what is
    inline. Nothing is fetched, and `<link>` is dropped. HTML without `<style>` is returned as it is.
    """
    return INLINER.inline(html) if "<style" in html else html
