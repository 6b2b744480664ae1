"""`python -m docs.site.mermaid`: diagrams as a JSON array on standard input, their SVG as one on standard output."""

from __future__ import annotations

import json
import sys

import mmdr


def main() -> int:
    """Returns 1, with the diagram and the reason on standard output, if one cannot be drawn."""
    drawn = []
    for diagram in json.load(sys.stdin):
        try:
            drawn.append(mmdr.render(diagram).svg())
        except ValueError as error:
            sys.stdout.write(f"{error}\n{diagram}")
            return 1
    json.dump(drawn, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
