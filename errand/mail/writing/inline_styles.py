"""Puts the rules of a template's `<style>` where mail readers keep them: into the elements that they are for."""

from __future__ import annotations

from css_inline import CSSInliner

LIMIT_CHARS = 512 * 1024
"""To put the rules into a mebibyte of elements holds up the process for 70 ms, if it is full of escapes for 300: no
other thread has its turn meanwhile. Gmail cuts letters at 102 kB."""


INLINER = CSSInliner(keep_style_tags=True, remove_inlined_selectors=True, load_remote_stylesheets=False)


def with_inline_styles(html: str) -> str:
    """The HTML with each rule as a `style` of its elements; an element's own `style` wins.

    Rules that no element can hold (`@media`, `:hover`) stay in `<style>`: they need `!important` to win over what is
    inline. Nothing is fetched, and `<link>` is dropped. HTML without `<style>`, or longer than `LIMIT_CHARS`, is
    returned as it is.
    """
    return INLINER.inline(html) if "<style" in html and len(html) <= LIMIT_CHARS else html
