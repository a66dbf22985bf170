"""What pages of results made from studies share: running a study, and its claims, pictures and tables as Markdown."""

import shutil
from pathlib import Path

import edgetwin as et
from edgetwin.evaluation.study_output import claims_markdown, table_markdown
from edgetwin.tables import study_bar

DOCS = Path(__file__).parent.parent / "docs"


def run(name, scale, workers=2):
    """A study's outcome; jobs done before are not done again."""
    bar, report = study_bar()
    with bar:
        done = et.reproduce(name, scale, workers=workers, progress=report)
    if done.failed:
        raise SystemExit(f"{name}: {done.failed}")
    return done


def section(name, done):
    """A study's claims, pictures and tables as Markdown; its pictures go to docs/pictures."""
    short = name.replace("/", "-")
    parts = [
        f"## {done.study.title} ({done.study.reproduces})\n",
        f"`edgetwin reproduce {name} --scale {done.scale}`. {done.study.summary}\n",
    ]
    (DOCS / "pictures").mkdir(parents=True, exist_ok=True)
    for picture in sorted(path for path in done.files if path.suffix == ".png"):
        shutil.copyfile(picture, DOCS / "pictures" / f"{short}-{picture.name}")
        parts.append(f"![{done.study.title}: {picture.stem}](pictures/{short}-{picture.name})\n")
    for table in done.tables:
        parts.append(f"**{table.title}**\n\n{table_markdown(table)}")
    parts.append(f"### Claims\n\n{claims_markdown(done.claims).replace('## ', '#### ')}")
    return "\n".join(parts)


def into_readme(mark, text):
    """Puts a text between the marks of this name in README.md."""
    readme = DOCS.parent / "README.md"
    page = readme.read_text(encoding="utf-8")
    start, end = f"<!-- results: {mark} -->\n", f"<!-- /results: {mark} -->"
    readme.write_text(page[: page.index(start) + len(start)] + text + page[page.index(end) :], encoding="utf-8")
