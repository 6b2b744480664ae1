"""`python compose_side.py compose.yaml`: a parser of the Compose specification reads it. Needs nothing of Errand."""

import re
import sys
from pathlib import Path

import yaml
from compose_spec import PyCompose

# as Compose does first: variables have their defaults, those that must be set some text
text = re.sub(
    r"\$\{\w+(?::-([^}]*)|:\?[^}]*)\}",
    lambda found: "x" if found[1] is None else found[1],
    Path(sys.argv[1]).read_text(),
)
# anchors and merge keys are YAML's: what they make is what the specification is about
PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(text)))
