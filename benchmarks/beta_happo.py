"""Writes docs/results-beta-happo.md and its pictures from the studies of what Beta-HAPPO learns, and what each part of it is worth.

make results      (or this script alone; jobs done before, in edgetwin-reproduce/, are not done again)
"""

import platform
from dataclasses import replace

from study_pages import DOCS, into_readme, run, section

import edgetwin as et
from edgetwin.evaluation.study_output import table_markdown

STUDIES = (("two-timescale/learned", "full"), ("two-timescale/ablation", "quick"))


def update_readme(done):
    """Puts what was learned between the marks in README.md."""
    table = next(table for table in done.tables if table.name == "policies")
    shown = [row for row in table.rows if str(row[0]).startswith(("beta-happo", "inversion", "distance-rule[failure=0.05]"))]
    said = "What Beta-HAPPO learns on `two-timescale/physical`, 64 networks, 95 % intervals over seeds (rules: over networks) in brackets:"
    into_readme("beta-happo", f"{said}\n\n{table_markdown(replace(table, rows=shown))}")


def main():
    outcomes = [(name, run(name, scale, workers=1)) for name, scale in STUDIES]
    sections = [section(name, done) for name, done in outcomes]
    update_readme(outcomes[0][1])
    page = f"""# Results: Beta-HAPPO

Written by `make results` with edgetwin {et.__version__}, Python {platform.python_version()}; preset `two-timescale/physical` (30 users, 5 sites,
the paper's observation), 64 networks × 1000 slots under seed 0, which no training has seen; 95 % intervals in brackets. Verdicts are computed by
the rule beside them ([how](reproduce.md)); "reproduced" then means that the sentence holds. What is learned and how is in
[Beta-HAPPO](beta-happo.md), the rules and the bound in [the problem](two-timescale.md). Trainings take 750,000 slots, with five seeds;
`beta-happo-paper` is one. The ablation is at `quick` scale: 50,000 slots and one seed, so it says what helps at the beginning, without
intervals. Seconds include compilation and evaluations, on a machine with other work.

{chr(10).join(sections)}"""
    (DOCS / "results-beta-happo.md").write_text(page.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
