"""The files a study ends with: pictures as PNG and SVG, tables as Markdown and CSV, claims with their verdicts as Markdown and JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from edgetwin.evaluation.claims import Claim
from edgetwin.evaluation.statistics import Estimate
from edgetwin.evaluation.study import Scale, Study, Table
from edgetwin.files import replacing, write_bytes

PNG_DPI = 160


def write_outputs(
    name: str,
    study: Study,
    scale: Scale,
    folder: Path,
    pictures: Mapping[str, Figure],
    tables: Sequence[Table],
    claims: Sequence[Claim],
) -> tuple[Path, ...]:
    """Writes all of a study's pictures, tables and claims to its folder; returns the files."""
    files = [path for stem, figure in pictures.items() for path in write_picture(folder, stem, figure)]
    for table in tables:
        files.append(write_text(folder / f"{table.name}.md", f"# {table.title}\n\n{table_markdown(table)}"))
        files.append(write_text(folder / f"{table.name}.csv", table_csv(table)))
    if claims:
        heading = f"# {study.title}\n\n`{name}` ({study.reproduces}) at scale {scale}. {study.summary}\n\n"
        files.append(write_text(folder / "claims.md", heading + claims_markdown(claims)))
        described = {"study": name, "scale": scale, "claims": [claim.to_json() for claim in claims]}
        files.append(
            write_text(folder / "claims.json", json.dumps(described, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
        )
    return tuple(files)


def shown(value: str | float | Estimate | None) -> str:
    """A cell for people: four significant digits, an interval in brackets, a dash where there is nothing."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, Estimate):
        if value.ci95 is None or not math.isfinite(value.mean):
            return shown(value.mean)
        return f"{shown(value.mean)} [{shown(value.ci95[0])}, {shown(value.ci95[1])}]"
    return f"{value:.4g}" if math.isfinite(value) else "–"


def table_markdown(table: Table) -> str:
    """A table with its numbers as `shown`, aligned right where a column holds numbers alone."""
    right = [all(not isinstance(row[column], str) for row in table.rows) for column in range(len(table.columns))]
    lines = [table.columns, ["---:" if numbers else "---" for numbers in right], *[map(shown, row) for row in table.rows]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def table_csv(table: Table) -> str:
    """A table in full precision; a column with estimates becomes three: its value, and the ends of the 95 % interval."""
    wide = [any(isinstance(row[column], Estimate) for row in table.rows) for column in range(len(table.columns))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            head
            for name, three in zip(table.columns, wide, strict=True)
            for head in ([name, f"{name} ci95 low", f"{name} ci95 high"] if three else [name])
        ]
    )
    for row in table.rows:
        cells: list[str | float | None] = []
        for cell, three in zip(row, wide, strict=True):
            if isinstance(cell, Estimate):
                cells += [cell.mean, *(cell.ci95 or (None, None))]
            else:
                cells += [cell, None, None] if three else [cell]
        writer.writerow(cells)
    return text.getvalue()


def claims_markdown(claims: Sequence[Claim]) -> str:
    """Every claim: what the paper says, what was measured with its 95 % interval, the verdict, its rule and its reason."""
    parts = []
    for claim in claims:
        measured = [f"- {label}: {with_unit(estimate, claim.unit)}" for label, estimate in claim.measured.items()]
        said = "" if claim.paper is None else f" The paper's number: {with_unit(claim.paper, claim.unit)}."
        parts.append(
            "\n".join(
                [
                    f"## {claim.verdict}: {claim.says}",
                    "",
                    f"{claim.where}.{said} Measured, with 95 % interval:",
                    "",
                    *measured,
                    "",
                    f"Rule: {claim.rule.text}. Reason: {claim.judgement.reason}.",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def with_unit(value: float | Estimate, unit: str) -> str:
    """A number or an estimate with its unit."""
    return f"{shown(value)} {unit}".rstrip()


def write_text(path: Path, text: str) -> Path:
    """A text that stands at `path` as a whole, or not at all; returns the path."""
    with replacing(path) as file:
        file.write(text)
    return path


def write_picture(folder: Path, stem: str, figure: Figure) -> list[Path]:
    """A figure as PNG on white and as SVG with its text as text; the same data give the same files."""
    bitmap, drawing = io.BytesIO(), io.StringIO()
    figure.savefig(bitmap, format="png", dpi=PNG_DPI, facecolor="white")
    write_bytes(folder / f"{stem}.png", bitmap.getvalue())
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": stem}):
        figure.savefig(drawing, format="svg", facecolor="white", metadata={"Date": None})
    return [folder / f"{stem}.png", write_text(folder / f"{stem}.svg", drawing.getvalue())]
