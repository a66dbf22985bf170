"""Writes docs/results-beta-happo.md and its pictures from the studies of what Beta-HAPPO learns, and what each part of it is worth.

make results      (or this script alone; jobs done before, in edgetwin-reproduce/, are not done again)
"""

import platform

from study_pages import DOCS, run, section

import edgetwin as et

STUDIES = (("two-timescale/learned", "quick"),)


def main():
    outcomes = [(name, run(name, scale, workers=1)) for name, scale in STUDIES]
    sections = [section(name, done) for name, done in outcomes]
    page = f"""# Results: Beta-HAPPO

Written by `make results` with edgetwin {et.__version__}, Python {platform.python_version()}; preset `two-timescale/physical` (30 users, 5 sites,
the paper's observation), 64 networks × 1000 slots under seed 0, which no training has seen; 95 % intervals in brackets. Verdicts are computed by
the rule beside them ([how](reproduce.md)); "reproduced" then means that the sentence holds. What is learned and how is in
[Beta-HAPPO](beta-happo.md), the rules and the bound in [the problem](two-timescale.md). The scale is `quick`: one seed
and 100,000 slots a training, so intervals are over networks alone; `edgetwin reproduce two-timescale/learned --scale full`
takes 750,000 slots and five seeds, and `edgetwin reproduce two-timescale/ablation` takes the parts back one by one.
Seconds include compilation and evaluations, on a machine with other work.

{chr(10).join(sections)}"""
    (DOCS / "results-beta-happo.md").write_text(page.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
