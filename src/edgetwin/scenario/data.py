"""Data sets of others: where each comes from, who made it, and how it gets here.

None is part of the package. A file is read from the folder that `EDGETWIN_DATA` names when that is set, and otherwise fetched
once from its origin into the user's cache. Both are checked against the SHA-256 that is pinned here.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from edgetwin.errors import DataUnavailable

ORIGIN = "https://raw.githubusercontent.com"
CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0


class Dataset(NamedTuple):
    """One file: its path below `EDGETWIN_DATA`, its origin (repository, commit, path there), what pins it, and whom to credit."""

    file: str
    repository: str
    commit: str
    origin_path: str
    sha256: str
    licence: str
    citation: str


OPTUS_SITES = Dataset(
    file="eua/site-optus-melbCBD.csv",
    repository="swinedge/eua-dataset",
    commit="61238e00a6f01019c8a6ba1619675337a879a3d4",
    origin_path="edge-servers/site-optus-melbCBD.csv",
    sha256="c1031a8ff0f110e179beeabfaea53d42c15f30b0daf6c6522e8f17789c3979fb",
    licence="MIT, (c) 2018 Swin Edge; underlying register data: ACMA (Australia)",
    citation="EUA dataset, Swin Edge (Swinburne), 2018; register of sites: ACMA (Australia)",
)

GOAL_TRACKS = Dataset(
    file="goal/trajectories.zip",
    repository="amazon-science/goal-gps-ordered-activity-labels",
    commit="730ae08c7009c554035ff3d78f42f45ff1edd988",
    origin_path="trajectories.zip",
    sha256="b7a49f72a7c1015248fac03560da6ff19307de82040cf4f2360d2955049f94fb",
    licence="CC-BY-4.0",
    citation="GOAL (GPS Ordered Activity Labels); Eftelioglu et al., IWCTS 2022",
)

SF_TAXI_CELLS = Dataset(
    file="sf_taxi_cells/traceRealCellLocations.mat",
    repository="shiqiangw/service-migration-mdp",
    commit="cd0580041299b3e9ca7999a2da9f631d0dedc786",
    origin_path="traceRealCellLocations.mat",
    sha256="e2b71f3b58ad5b4528fb53fea795033d47608c9beb1f5f49174a39d34258598d",
    licence="MIT (repository)",
    citation="Wang et al., service migration; taxi GPS: CRAWDAD epfl/mobility, Piorkowski et al., 2009; towers: antennasearch.com",
)


def path_of(dataset: Dataset) -> Path:
    """A local file with the data set's pinned contents: in `EDGETWIN_DATA` when that is set, else in the cache, fetched at need.

    Raises DataUnavailable, one line, when there is none.
    """
    folder = os.environ.get("EDGETWIN_DATA")
    return _in_folder(dataset, Path(folder).expanduser()) if folder else _in_cache(dataset)


def _in_folder(dataset: Dataset, folder: Path) -> Path:
    path = folder / dataset.file
    remedy = f"put it there, or unset EDGETWIN_DATA to have it fetched from {ORIGIN}/{dataset.repository}"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataUnavailable(f"EDGETWIN_DATA = {folder}: cannot read {dataset.file} ({error.strerror}): {remedy}") from None
    if found != dataset.sha256:
        raise DataUnavailable(
            f"EDGETWIN_DATA = {folder}: {dataset.file} is not the pinned file "
            f"(SHA-256 {found[:12]}…, wanted {dataset.sha256[:12]}…): {remedy}"
        )
    return path


def _in_cache(dataset: Dataset) -> Path:
    """The file in the user's cache, laid out as `EDGETWIN_DATA`. pooch writes to another name, and renames what is checked."""
    import pooch
    import requests

    url = f"{ORIGIN}/{dataset.repository}/{dataset.commit}/{dataset.origin_path}"
    cache = Path(pooch.os_cache("edgetwin"))
    path = cache / dataset.file
    downloader = pooch.HTTPDownloader(timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
    try:
        with _silent(pooch.get_logger()):
            return Path(pooch.retrieve(url, f"sha256:{dataset.sha256}", fname=path.name, path=path.parent, downloader=downloader))
    except requests.HTTPError as error:
        failure = f"the origin answered {str(error).partition(' for url')[0]}"
    except requests.Timeout:
        failure = "no answer in time"
    except requests.exceptions.ChunkedEncodingError:
        failure = "the connection was cut"
    except requests.RequestException:
        failure = "the origin cannot be reached"
    except OSError as error:
        failure = f"the cache {cache} cannot be used ({error.strerror or error})"
    except ValueError:
        failure = f"what arrived is not the pinned file (SHA-256 {dataset.sha256[:12]}…)"
    remedy = f"EDGETWIN_DATA may name a folder that holds {dataset.file}"
    raise DataUnavailable(f"data set {dataset.file}: {failure} (fetching {url}): {remedy}") from None


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
