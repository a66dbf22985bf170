"""Writes docs/results-network-sync.md and its pictures from the studies: forecasts, learning curves, the ablation, partial packets.

make results      (or this script alone; jobs done before, in edgetwin-reproduce/, are not done again)
"""

import platform
import shutil
from pathlib import Path

import edgetwin as et
from edgetwin.evaluation.study_output import claims_markdown, table_markdown
from edgetwin.tables import study_bar

DOCS = Path(__file__).parent.parent / "docs"
STUDIES = (
    ("network-sync/fig2", "full"),
    ("network-sync/fig3", "full"),
    ("network-sync/ablation", "quick"),
    ("network-sync/partial", "quick"),
)


def run(name, scale):
    """A study's outcome; jobs done before are not done again."""
    bar, report = study_bar()
    with bar:
        done = et.reproduce(name, scale, workers=2, progress=report)
    if done.failed:
        raise SystemExit(f"{name}: {done.failed}")
    return done


def section(name, done):
    """A study's claims, pictures and tables as Markdown; its pictures go to docs/pictures."""
    scale = done.scale
    short = name.replace("/", "-")
    parts = [
        f"## {done.study.title} ({done.study.reproduces})\n",
        f"`edgetwin reproduce {name} --scale {scale}`. {done.study.summary}\n",
    ]
    for picture in sorted(path for path in done.files if path.suffix == ".png"):
        shutil.copyfile(picture, DOCS / "pictures" / f"{short}-{picture.name}")
        parts.append(f"![{done.study.title}: {picture.stem}](pictures/{short}-{picture.name})\n")
    for table in done.tables:
        parts.append(f"**{table.title}**\n\n{table_markdown(table)}")
    parts.append(f"### Claims\n\n{claims_markdown(done.claims).replace('## ', '#### ')}")
    return "\n".join(parts)


def update_readme(done):
    """Puts the table of preset A between the marks in README.md."""
    readme = DOCS.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    start, end = "<!-- results: network-sync -->\n", "<!-- /results: network-sync -->"
    table = next(table for table in done.tables if table.name == "network-sync-a")
    said = f"Network-sync, {table.title}, per episode of 30 slots, 95 % intervals in brackets:"
    before, after = text[: text.index(start) + len(start)], text[text.index(end) :]
    readme.write_text(f"{before}{said}\n\n{table_markdown(table)}{after}", encoding="utf-8")


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
    (DOCS / "pictures").mkdir(parents=True, exist_ok=True)
    main()
