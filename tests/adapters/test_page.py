"""The page about adapters shows the examples that the stage of third-party checks runs."""

import ast
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_code_on_the_page_is_that_of_the_examples():
    scripts = [(DOCS / "examples" / name).read_text(encoding="utf-8") for name in ("gymnasium_sb3.py", "pettingzoo_torchrl.py")]
    shown = re.findall(r"^```py\n(.*?)^```", (DOCS / "adapters.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [[part in script for script in scripts] for part in shown] == [[True, False], [True, False], [False, True]]
    for script in scripts:
        ast.parse(script)
