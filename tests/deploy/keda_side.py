"""`python keda_side.py keda.yaml`: KEDA's models read its objects. Needs nothing of Errand."""

import sys
from pathlib import Path

import cloudcoil.models.keda.v1alpha1 as keda
import yaml

read = 0
for one in yaml.safe_load_all(Path(sys.argv[1]).read_text()):
    if one["apiVersion"].startswith("keda.sh/"):
        getattr(keda, one["kind"]).model_validate(one)
        read += 1
assert read == 2, f"{read} objects of KEDA"
