"""The Python of pages reaches mypy and pyright, which `make check` runs over it, with the lines that the pages have."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from docs.site import code_blocks
from docs.site.code_blocks import ROOT

PAGE = """# A page

    ```python
    from myapp.jobs import greet
    ```

```python
# myapp/jobs.py
greet = 1
```

A part:

```python
# in a job
await ctx.progress(0.5)
```
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(code_blocks, "ROOT", tmp_path)
    monkeypatch.setattr(code_blocks, "PAGES", [tmp_path / "a.md"])
    (tmp_path / "a.md").write_text(PAGE)
    code_blocks.write(tmp_path / "code")
    return tmp_path / "code"


def test_every_line_is_where_the_page_has_it(written: Path) -> None:
    page = PAGE.splitlines()
    modules = {str(path.relative_to(written)): path.read_text().splitlines() for path in written.rglob("*.py")}
    assert modules["a_l3.py"][3] == page[3].strip().replace("myapp", "myapp_of_a_l3")
    assert modules["myapp_of_a_l3/jobs.py"][8] == page[8]
    assert modules["a_l14.py"][15].strip() == page[15]
    part = ast.parse("\n".join(modules["a_l14.py"]))
    assert isinstance(part.body[-1], ast.AsyncFunctionDef) and "Context" in modules["a_l14.py"][2]


def test_all_blocks_of_all_pages_are_modules_and_python(tmp_path: Path) -> None:
    code_blocks.write(tmp_path)
    blocks = [block for page in code_blocks.PAGES for block in code_blocks.blocks_of(page)]
    modules = [path for path in tmp_path.rglob("*.py") if path.name != "__init__.py"]
    assert len(modules) == len(blocks) > 20
    for module in modules:
        ast.parse(module.read_text(), str(module))


def test_they_are_checked_by_make_check() -> None:
    check = (ROOT / "Makefile").read_text().partition("check: ")[2].partition("\n\n")[0]
    folder = str(code_blocks.FOLDER.relative_to(ROOT))
    assert f"docs.site.code_blocks\n\t@$(BIN)/mypy {folder}\n\t@$(BIN)/pyright {folder}" in check
