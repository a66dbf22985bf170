"""Writes docs/results-association-learning.md, its pictures and README's table from the studies of what is learned of association.

make results      (or this script alone; jobs done before, in edgetwin-reproduce/, are not done again; from nothing it takes two hours)
"""

import platform
from dataclasses import replace

from study_pages import DOCS, into_readme, run, section

import edgetwin as et
from edgetwin.evaluation.study_output import table_markdown

STUDIES = (
    ("association/fig9", "full"),
    ("association/migration", "full"),
    ("association/transfer", "full"),
    ("association/fig7", "quick"),
    ("association/fig8", "quick"),
    ("association/fig10", "quick"),
)
README_NETWORK = "N = 100, M = 10"


def update_readme(done):
    """Puts what placements of the largest network cost between the marks in README.md."""
    table = next(table for table in done.tables if table.name == "costs")
    shown = [row[1:] for row in table.rows if row[0] == README_NETWORK]
    said = "Learned placement, 100 users and 10 servers, 64 networks that no training has met, `ddpg` over 5 seeds, 95 % intervals over networks:"
    into_readme("association-learning", f"{said}\n\n{table_markdown(replace(table, columns=table.columns[1:], rows=shown))}")


def main():
    outcomes = [(name, run(name, scale)) for name, scale in STUDIES]
    sections = [section(name, done) for name, done in outcomes]
    update_readme(outcomes[0][1])
    page = f"""# Results: learned placement, migration and transfer

Written by `make results` with edgetwin {et.__version__}, Python {platform.python_version()}; presets
`association/n80-m5` to `n100-m10`, networks that no training has met; 95 % intervals in brackets. Verdicts are computed by the rule beside
them ([how](reproduce.md)); "reproduced" then means that the sentence holds. What is learned and how is in
[the problem](association.md#learned-placement). Seconds include
compilation and evaluations, two trainings side by side, on a machine with other work (a lot of it during those of migration, some of which
took six times as long as alone).

{chr(10).join(sections)}"""
    (DOCS / "results-association-learning.md").write_text(page.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
