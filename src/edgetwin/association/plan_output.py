"""The folder of a plan: plan.json, users.csv, servers.csv and the map. All of it is made before the first file is written."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import matplotlib

from edgetwin.association import plan_map, plan_rows
from edgetwin.association.place import Plan
from edgetwin.errors import InputError
from edgetwin.files import check_writable, write_bytes

FILES = ("plan.json", "users.csv", "servers.csv", "map.svg", "map.png")
PNG_DPI = 160


def check_folder(folder: Path) -> None:
    """Raises InputError where a plan cannot be written to the folder, or the folder holds anything but a plan."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file: name a folder for the plan")
    others = sorted(path.name for path in folder.iterdir() if path.name not in FILES) if folder.exists() else []
    if others:
        raise InputError(
            f"{folder}: holds other files ({', '.join(others[:3])}): name a new folder, or one that holds a plan alone"
        )
    check_writable(folder / FILES[0])


def write(plan: Plan, folder: Path) -> tuple[Path, ...]:
    """Writes the files of a plan, over those of an earlier one; returns their paths."""
    check_folder(folder)
    svg, png = pictures(plan)
    described = json.dumps(plan_rows.to_json(plan), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    texts = [described, table_csv(plan_rows.users(plan)), table_csv(plan_rows.servers(plan)), svg]
    contents = [*(text.encode() for text in texts), png]
    for name, content in zip(FILES, contents, strict=True):
        write_bytes(folder / name, content)
    return tuple(folder / name for name in FILES)


def pictures(plan: Plan) -> tuple[str, bytes]:
    """The map as SVG with its text as text, and as PNG on white; the same plan gives the same files."""
    figure, drawing, bitmap = plan_map.draw(plan), io.StringIO(), io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "plan"}):
        figure.savefig(drawing, format="svg", facecolor="white", metadata={"Date": None})
    figure.savefig(bitmap, format="png", dpi=PNG_DPI, facecolor="white")
    return drawing.getvalue(), bitmap.getvalue()


def table_csv(rows: list[dict[str, Any]]) -> str:
    """Rows with a header line; true and false in small letters, nothing where there is none."""
    words = {True: "true", False: "false", None: ""}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([[words[cell] if cell is None or isinstance(cell, bool) else cell for cell in row.values()] for row in rows])
    return text.getvalue()
