"""The page about adapters shows the example that the stage of third-party checks runs."""

import ast
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_code_on_the_page_is_that_of_the_example():
    script = (DOCS / "examples" / "gymnasium_sb3.py").read_text(encoding="utf-8")
    shown = re.findall(r"^```py\n(.*?)^```", (DOCS / "adapters.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    assert all(part in script for part in shown)
    ast.parse(script)
