"""Writes docs/results-network-sync.md and its pictures from the studies: forecasts, learning curves, the ablation, partial packets.

make results      (or this script alone; jobs done before, in edgetwin-reproduce/, are not done again)
"""

import platform

from study_pages import DOCS, into_readme, run, section

import edgetwin as et
from edgetwin.evaluation.study_output import table_markdown

STUDIES = (
    ("network-sync/fig2", "full"),
    ("network-sync/fig3", "full"),
    ("network-sync/ablation", "quick"),
    ("network-sync/partial", "quick"),
)


def update_readme(done):
    """Puts the table of preset A between the marks in README.md."""
    table = next(table for table in done.tables if table.name == "network-sync-a")
    said = f"Network-sync, {table.title}, per episode of 30 slots, 95 % intervals in brackets:"
    into_readme("network-sync", f"{said}\n\n{table_markdown(table)}")


def main():
    outcomes = {name: run(name, scale) for name, scale in STUDIES}
    sections = [section(name, done) for name, done in outcomes.items()]
    update_readme(outcomes["network-sync/fig3"])
    page = f"""# Results: network-sync

Written by `make results` with edgetwin {et.__version__}, Python {platform.python_version()}; 95 % intervals in brackets: over seeds
for what was learned, over episodes or paths for the rest. Verdicts are computed by the rule beside them. What the words mean is in
[the problem](network-sync.md); how studies run in [reproduce](reproduce.md). Training seconds are those of the machine that wrote this page.

{chr(10).join(sections)}"""
    (DOCS / "results-network-sync.md").write_text(page.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
