"""Writes docs/results-migration.md and its picture from the study of when moving a twin pays.

make results      (or this script alone; jobs done before, in edgetwin-reproduce/, are not done again)
"""

import platform

from study_pages import DOCS, run, section

import edgetwin as et


def main():
    page = f"""# Results: when moving a twin pays

Written by `make results` with edgetwin {et.__version__}, Python {platform.python_version()}; preset `two-timescale/physical` with what is told
changed, episodes of 1000 slots under seed 0; 95 % intervals over networks in brackets. Powers and shares are the optimum of every slot
(`min-energy`), so what differs is where twins are. How `planned` works is in [the problem](two-timescale.md#the-hand-rules).

{section("two-timescale/migration", run("two-timescale/migration", "quick", workers=1))}"""
    (DOCS / "results-migration.md").write_text(page.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
