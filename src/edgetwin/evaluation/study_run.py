"""Running a study: jobs whose results are there already are not done again, whatever stopped them before; then the pictures.

The folder holds `results/` (one JSON file per job, found again by a digest of the job's function and settings), `runs/` (what a job keeps
for itself, such as a checkpoint), and what `evaluation.study_output` makes of the results. A result that another study has of the same job,
in a folder beside this one, is taken over.
"""

import fcntl
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetwin.errors import InputError
from edgetwin.evaluation.claims import Claim
from edgetwin.evaluation.study import SCALES, Job, Result, Results, Scale, Study, Table
from edgetwin.evaluation.study_output import write_outputs
from edgetwin.evaluation.study_workers import State, Work, checksum, do_all
from edgetwin.files import check_writable, replacing, write_bytes

STUDY = "study.json"


@dataclass(frozen=True)
class Reproduction:
    """A study that was run: where its files are, its results, tables and claims; or, by job, why it could not be finished."""

    name: str
    study: Study
    scale: Scale
    folder: Path
    results: Results
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]
    files: tuple[Path, ...]
    failed: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain data, as `reproduce --json` prints it."""
        return {
            "study": self.name,
            "title": self.study.title,
            "scale": self.scale,
            "folder": str(self.folder),
            "claims": [claim.to_json() for claim in self.claims],
            "files": [str(path) for path in self.files],
            "failed": self.failed,
        }


def run_study(
    name: str,
    study: Study,
    scale: Scale = "quick",
    out: Path | None = None,
    workers: int = 1,
    report: Callable[[str, State, int], None] = lambda job, state, jobs: None,
) -> Reproduction:
    """Does the jobs of a study that are not done yet, `workers` at a time, then writes pictures, tables and claims to the folder `out`.

    report(job, state, jobs) is told which of the `jobs` jobs was "kept" (done before, here or by another study beside it), has "started",
    is "done" or has "failed".
    A failed job lets the others go on; then there is nothing to draw, and `failed` says why.
    Raises InputError for a scale or number of workers that makes no sense, and for a folder that is in use or holds another study.
    """
    if scale not in SCALES:
        raise InputError(f"scale = {scale}: must be {' or '.join(SCALES)}")
    if workers < 1:
        raise InputError(f"workers = {workers}: must be at least 1")
    jobs = _checked(name, study.jobs(scale))
    folder = default_folder(name, scale) if out is None else out
    with _claimed(folder, name, scale):
        works = [_work(job, folder) for job in jobs]
        others = _other_studies(folder, name)
        kept = [work.job.name for work in works if _read(work) is not None or _taken_over(work, others)]

        def tell(job: str, state: State) -> None:
            report(job, state, len(jobs))

        for job in kept:
            tell(job, "kept")
        failed = do_all([work for work in works if work.job.name not in kept], workers, tell)
        read = {work.job.name: _read(work) for work in works if work.job.name not in failed}
        results = {job: result for job, result in read.items() if result is not None}
        if failed:
            return Reproduction(name, study, scale, folder, results, (), (), (), failed)
        tables, claims = tuple(study.tables(results)), tuple(study.claims(results))
        files = write_outputs(name, study, scale, folder, study.draw(results), tables, claims)
    return Reproduction(name, study, scale, folder, results, tables, claims, files, {})


def default_folder(name: str, scale: Scale) -> Path:
    """Where a study's files go where nothing else is said: edgetwin-reproduce/PAPER-FIGURE-SCALE."""
    return Path("edgetwin-reproduce") / f"{_slug(name)}-{scale}"


def _checked(name: str, jobs: Sequence[Job]) -> Sequence[Job]:
    """The jobs, if each has a name of its own, plain settings, and a function that can be loaded."""
    names = [job.name for job in jobs]
    twice = sorted({job for job in names if names.count(job) > 1})
    if twice or not names:
        raise InputError(f"study {name}: two jobs are called {twice[0]!r}" if twice else f"study {name}: it has no jobs")
    for job in jobs:
        try:
            same = json.loads(json.dumps(dict(job.settings), allow_nan=False)) == dict(job.settings)
        except (TypeError, ValueError):
            same = False
        if not same:
            raise InputError(f"study {name}: the settings of job {job.name!r} are not plain JSON: {dict(job.settings)}")
        job.load()
    return jobs


def _work(job: Job, folder: Path) -> Work:
    called = f"{_slug(job.name)}.{job.key}"
    return Work(job, folder / "results" / f"{called}.json", folder / "runs" / called)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_=.]+", "-", name).strip("-")


def _read(work: Work) -> Result | None:
    """A job's result; None where there is none, or none that is whole and of this job, so that it is done again."""
    try:
        stored = json.loads(work.file.read_text(encoding="utf-8"))
        whole = stored["sha256"] == checksum(stored["value"]) and stored["settings"] == dict(work.job.settings)
        return Result(stored["settings"], stored["value"], float(stored["seconds"])) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _other_studies(folder: Path, name: str) -> list[Path]:
    """The folders of other studies beside this one's."""
    beside = [record.parent for record in sorted(folder.absolute().parent.glob(f"*/{STUDY}"))]
    return [other for other in beside if (held := _held(other)) is not None and held[0] != name]


def _taken_over(work: Work, others: Sequence[Path]) -> bool:
    """Copies the result of the same job from the first of the folders that has it whole. Returns whether one had."""
    for other in others:
        there = work._replace(file=other / "results" / work.file.name)
        if _read(there) is not None:
            write_bytes(work.file, there.file.read_bytes())
            return True
    return False


def _held(folder: Path) -> tuple[str, str] | None:
    """Which study a folder holds, at which scale; None where it does not say."""
    try:
        held = json.loads((folder / STUDY).read_text(encoding="utf-8"))
        return held["study"], held["scale"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _claimed(folder: Path, name: str, scale: Scale) -> Iterator[None]:
    """Holds a folder for one study at one scale, and for one process at a time."""
    record = folder / STUDY
    check_writable(record)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: another process is at work there: wait for it, or choose another folder") from None
        held = _held(folder)
        if held is not None and held != (name, scale):
            raise InputError(f"{folder}: holds {held[0]} at scale {held[1]}: choose another folder")
        with replacing(record) as file:
            json.dump({"study": name, "scale": scale}, file)
        yield
