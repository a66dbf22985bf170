"""What the documentation says is so: its code runs, its commands work, its links lead somewhere, its equations and decisions are all there.

Python blocks of a page run one after another; commands in `sh` blocks run where they are cheap, and all of them parse. Both run small.
"""

import ast
import importlib
import inspect
import itertools
import os
import re
import shlex
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from urllib.parse import unquote

import pytest

import edgetwin
from edgetwin import api, cli, registry
from edgetwin.evaluation.compare import Comparison
from edgetwin.evaluation.study import Result
from edgetwin.problem import Policy

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted((ROOT / "src" / "edgetwin").rglob("*.py"))
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
PLACEHOLDERS = ("package.module", "my_", "your", "edgetwin-runs")


def blocks(page, *languages):
    return [match["text"] for match in FENCE.finditer(page.read_text(encoding="utf-8")) if match["language"] in languages]


def pages_with(*languages):
    return pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, *languages)], ids=lambda page: page.name)


@pytest.fixture
def reader(tmp_path, monkeypatch, quick_compilation):
    """Someone at the top of the repository who has the example package installed. What is written goes elsewhere; comparisons and
    trainings are small; comparisons of commands run one policy, and their checks find what is to be checked: Python on the same pages
    checks it."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    monkeypatch.setattr(registry, "entry_points", entry_points_of_the_docs)
    if not os.environ.get("EDGETWIN_DATA"):
        monkeypatch.setenv("EDGETWIN_DATA", str(tmp_path / "none"))
    compare, train, report = api.compare, api.train, Comparison.report

    def small(task, policies=None, episodes=64, slots=None, *rest, **more):
        return compare(task, policies, 2, min(20, task.spec.slots), *rest, **more)

    def smaller(task, policies, *rest, **more):
        """Finds every policy by name, but runs the first alone: compiling is what takes time."""
        named = [name if isinstance(name, Policy) else registry.policy(task, name) for name in policies]
        return small(task, named[:1], *rest, **more)

    def short(task, algorithm, budget="quick", *rest, **more):
        return train(task, algorithm, 1, *rest, **{**more, "evaluations": 1})

    monkeypatch.setattr(edgetwin, "train", short)
    monkeypatch.setattr(edgetwin, "compare", small)
    monkeypatch.setattr(api, "compare", smaller)
    monkeypatch.setattr(api, "check", lambda checked: [])
    monkeypatch.setattr(Comparison, "report", lambda self, path, film=(): report(self, path, film))
    monkeypatch.setattr("edgetwin.evaluation.compare.decision_us", lambda *first_slot: 0.0)


def entry_points_of_the_docs(group):
    tables = [tomllib.loads(text) for page in PAGES for text in blocks(page, "toml") if "[project.entry-points" in text]
    found = [table["project"]["entry-points"].get(group, {}) for table in tables]
    return [EntryPoint(name, value, group) for points in found for name, value in points.items()]


@pytest.mark.slow
@pages_with("python")
def test_python_runs(page, reader):
    names = {}
    try:
        for text in blocks(page, "python"):
            exec(compile(text, str(page), "exec"), names)
    except edgetwin.DataUnavailable as missing:
        pytest.skip(str(missing))


def commands(page):
    """The `edgetwin …` lines of a page's shell blocks as (PYTHONPATH or None, arguments), continuation lines joined."""
    for text in blocks(page, "sh", "console", "bash", "shell"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            settings = [words.pop(0) for _ in range(len(words)) if re.match(r"[A-Z_]+=", words[0])] if words else []
            if words and words[0] == "edgetwin":
                path = next((word.partition("=")[2] for word in settings if word.startswith("PYTHONPATH=")), None)
                yield path, words[1:]


COMMANDS = sorted({(path, tuple(arguments)) for page in PAGES for path, arguments in commands(page)}, key=str)


def cheap(arguments):
    """Scenario commands and checks; comparisons of named policies, as the reader's comparisons are small, but without tuning or fitting."""
    if any(placeholder in word for word in arguments for placeholder in PLACEHOLDERS):
        return False
    tuned = any(re.search(r"distance-rule(?!\[a=)|^(random|periodic|error-threshold)(?!\[)|^causal", word) for word in arguments)
    return arguments[0] in ("scenario", "check") or (arguments[0] == "compare" and "--policy" in arguments and not tuned)


@pytest.mark.parametrize(("path", "arguments"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_commands_work(path, arguments, reader, capsys):
    if arguments and not arguments[0].startswith("-"):
        cli.app.parse_args(list(arguments), exit_on_error=False, print_error=False)
        if cheap(arguments):
            status = cli.main(arguments)
            said = capsys.readouterr().err
            if "EDGETWIN_DATA" in said:
                pytest.skip(said)
            assert status == 0, said


@pytest.mark.slow
def test_the_example_script_runs(reader, capsys):
    importlib.import_module("own_policy").main()
    out = capsys.readouterr().out
    assert "PASS determinism" in out
    assert "FAIL" not in out


def test_code_on_the_pages_is_that_of_the_example():
    script = (ROOT / "docs" / "examples" / "own_policy.py").read_text(encoding="utf-8")
    shown = [part for text in blocks(ROOT / "docs" / "own-policy.md", "python") for part in text.strip().split("\n\n\n")]
    defined = [part for part in shown if part.startswith(("def ", "class ", "PROBLEM "))]
    assert len(defined) >= 6
    assert all(part in script for part in defined)


def test_the_study_on_its_page_is_that_of_the_example_and_works(reader, tmp_path):
    script = (ROOT / "docs" / "examples" / "own_study.py").read_text(encoding="utf-8")
    shown = [part for text in blocks(ROOT / "docs" / "reproduce.md", "python") for part in text.strip().split("\n\n\n")]
    defined = [part for part in shown if part.startswith("def ") and not part.startswith("def trained")]
    assert len(defined) == 5
    assert all(part in script for part in defined)
    study = registry.study("own_study:PROBLEM/power")
    first, *_ = jobs = study.jobs("quick")
    energies = first.load()(dict(first.settings), tmp_path)
    assert energies[0] > energies[1] > 0
    results = {job.name: Result(job.settings, energies, 1.0) for job in jobs}
    assert [claim.verdict for claim in study.claims(results)] == ["reproduced"]
    assert [len(table.rows) for table in study.tables(results)] == [2]
    assert list(study.draw(results)) == ["power"]


def test_the_learner_on_its_page_is_that_of_the_example():
    script = (ROOT / "docs" / "examples" / "own_learner.py").read_text(encoding="utf-8")
    shown = "\n\n\n".join(part for part in script.split("\n\n\n") if part.startswith(("class ", "def hill_climbing")))
    assert shown in (ROOT / "docs" / "learning.md").read_text(encoding="utf-8")


def test_the_example_network_is_what_its_page_shows():
    folder, page = ROOT / "docs" / "examples" / "own-network", ROOT / "docs" / "own-network.md"
    example = edgetwin.scenario(folder / "network.toml")
    assert [example.name, example.sites.count, example.users.count] == ["small-town", 4, 8]
    text = page.read_text(encoding="utf-8")
    assert (folder / "sites.csv").read_text() in text
    assert "".join((folder / "tracks.csv").read_text().splitlines(keepends=True)[:4]) in text
    shown = next(tomllib.loads(block) for block in blocks(page, "toml") if block.startswith("extends"))
    whole = tomllib.loads((folder / "network.toml").read_text())
    assert {key: whole[key] for key in shown} == shown


def test_the_example_tracks_for_network_sync_are_what_their_page_shows():
    folder, page = ROOT / "docs" / "examples" / "own-network", ROOT / "docs" / "own-network.md"
    shown = next(tomllib.loads(block) for block in blocks(page, "toml") if 'extends = "network-sync' in block)
    whole = tomllib.loads((folder / "network-sync.toml").read_text())
    assert {key: whole[key] for key in shown} == shown


def test_the_layers_on_the_concepts_page_are_those_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("edgetwin.", "").split(" | ") for layer in reversed(contracts[0]["layers"])]
    drawn = next(text for text in blocks(ROOT / "docs" / "concepts.md", "") if text.startswith("src/edgetwin/"))
    listed = [
        name for line in drawn.splitlines()[1:] for name in re.findall(r"(\w+)(?:\.py|/)", re.split(r" {3,}", line.strip())[0])
    ]
    place = {name: row for row, name in enumerate(listed)}
    assert set(place) == {name for layer in layers for name in layer}
    for below, above in itertools.pairwise(layers):
        assert max(place[name] for name in below) < min(place[name] for name in above)


def anchor(heading):
    """GitHub's name for a heading: lower case, without punctuation, spaces as hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = unquote(target).partition("#")
        aim = (page.parent / file).resolve() if file else page
        assert aim.exists(), f"{page.name}: {target} leads nowhere"
        if fragment and aim.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", FENCE.sub("", aim.read_text(encoding="utf-8")), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{page.name}: {target} names no heading"


def docstrings(folder):
    for path in SOURCES:
        if folder in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    yield ast.get_docstring(node) or ""


def numbered(text):
    """The numbers of the equations that a text names: (7), (14b), and all of a range such as (1)-(4)."""
    found = {int(number) for number in re.findall(r"\((\d+)[a-h]?\)", text)}
    for first, last in re.findall(r"\((\d+)\)[-–]\((\d+)\)", text):
        found |= set(range(int(first), int(last) + 1)) if int(last) - int(first) < 10 else set()
    return found


def test_every_equation_is_explained_and_implemented():
    equations = set(range(1, 29))
    page = (ROOT / "docs" / "two-timescale.md").read_text(encoding="utf-8")
    explained = {int(n) for group in re.findall(r"^\*\*([^*]+)\*\*", page, re.MULTILINE) for n in re.findall(r"\((\d+)", group)}
    explained |= numbered(page.split("## What agents see and do")[1].split("## Rewards")[0])
    cited = numbered("\n".join([*docstrings("two_timescale"), *docstrings("physical")]))
    assert (equations - explained, equations - cited) == (set(), set()), "not on the page, in no docstring"


def test_every_equation_of_association_is_explained_and_implemented():
    page = (ROOT / "docs" / "association.md").read_text(encoding="utf-8")
    explained = {number for bold in re.findall(r"\*\*([^*]+)\*\*", page) for number in numbered(bold)}
    cited = numbered("\n".join(docstrings("association")))
    assert (set(range(1, 28)) - explained, set(range(3, 28)) - cited) == (set(), set()), "not on the page, in no docstring"


PAGES_OF = {"two-timescale": ("two-timescale", "beta-happo"), "network-sync": ("network-sync",)}
HAPPO = {"agents", "beta", "credit", "critics", "gae", "happo", "heads", "roles", "stacks"}


def decisions_on(paper):
    pages = [(ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in PAGES_OF[paper]]
    return {number for page in pages for number in re.findall(r"\*\*Decision (\d+)[.:]?\*\*", page)}


def paper_of(path):
    """Whose decisions a file speaks of."""
    if path.parent.name == "learning" and path.stem in HAPPO:
        return "two-timescale"
    own = {"network_sync", "forecasting", "learning"} & set(path.parts) or path.name.startswith("network-sync")
    return "network-sync" if own else "two-timescale"


def test_every_decision_is_explained_and_the_code_cites_no_other():
    explained = {paper: decisions_on(paper) for paper in ("two-timescale", "network-sync")}
    assert {str(n) for n in range(1, 42)} - explained["two-timescale"] == {"37"}
    assert explained["network-sync"] == {str(n) for n in range(1, 22)}
    for path in [*SOURCES, *(ROOT / "src" / "edgetwin" / "scenario" / "presets").glob("*.toml")]:
        cited = set(re.findall(r"[Dd]ecision (\d+)", path.read_text(encoding="utf-8")))
        unexplained = cited - explained[paper_of(path)]
        assert not unexplained, f"{path.name} cites {sorted(unexplained)}"


def named_in(text, problem):
    """What of edgetwin the dotted names in a text stand for, looked for in the problem's folder first; a module's unknown part is an error."""
    modules = {".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in SOURCES}
    for name in re.findall(r"`((?:[a-z_]+\.)+[A-Za-z_]\w*(?:\.\w+)?)`", text):
        for home in (f"edgetwin.{problem}.", "edgetwin."):
            parts = (home + name).split(".")
            end = next((n for n in range(len(parts), 1, -1) if ".".join(parts[:n]) in modules), None)
            if end:
                found = importlib.import_module(".".join(parts[:end]))
                for part in parts[end:]:
                    found = getattr(found, part)
                yield found
                break


@pytest.mark.parametrize(("paper", "least"), [("two-timescale", 35), ("network-sync", 35), ("association", 18)])
def test_functions_named_on_a_paper_s_page_exist(paper, least):
    page = FENCE.sub("", (ROOT / "docs" / f"{paper}.md").read_text(encoding="utf-8"))
    assert len(list(named_in(page, paper.replace("-", "_")))) >= least


def test_every_equation_of_network_sync_stands_with_the_function_that_cites_it():
    page = FENCE.sub("", (ROOT / "docs" / "network-sync.md").read_text(encoding="utf-8"))
    explained = set()
    for paragraph in page.split("\n\n"):
        equations = {int(number) for number in re.findall(r"\*\*\((\d+)[a-h]?\)\*\*", paragraph)}
        cited = numbered("\n".join(inspect.getdoc(found) or "" for found in named_in(paragraph, "network_sync")))
        assert equations <= cited, f"no function named there cites {sorted(equations - cited)}"
        explained |= equations
    assert explained == set(range(1, 22))
