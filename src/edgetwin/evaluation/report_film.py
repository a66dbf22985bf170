"""The moving part of a report: which policies are shown, and one episode of each as data small enough to stand in a page.

The script that draws it is in `report.js`, the markup in `report_film.html`.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from edgetwin.errors import InputError, did_you_mean
from edgetwin.evaluation.compare import Comparison
from edgetwin.evaluation.film import film as film_of
from edgetwin.problem import Policy, Scene, episode_keys

FILMS, FRAMES_MAX, FILM_BYTES_MAX = 3, 500, 900_000


def to_film(comparison: Comparison, film: Sequence[str] | None) -> list[Policy]:
    """The policies to show: those named, or the first that can be shown and then those that differ most in the metrics."""
    if film is None:
        return _unlike(comparison)
    for name in film:
        if name not in comparison.rows:
            known = ", ".join(comparison.rows)
            raise InputError(
                f"film {name!r}: is not in this comparison: choose among {known}{did_you_mean(name, comparison.rows)}"
            )
        if comparison.rows[name].policy.runs_on == "host":
            raise InputError(f"film {name!r}: runs on the host: only policies that run on the device can be shown moving")
    return [comparison.rows[name].policy for name in dict.fromkeys(film)]


def _unlike(comparison: Comparison) -> list[Policy]:
    rows = [row for row in comparison.rows.values() if not row.policy.reference and row.policy.runs_on == "device"]
    if not rows:
        return []
    means = np.array([[row.metrics[name].mean for name in comparison.task.spec.metrics] for row in rows])
    with np.errstate(invalid="ignore", divide="ignore"):
        places = np.nan_to_num((means - means.min(axis=0)) / np.ptp(means, axis=0), posinf=0)
    chosen = [0]
    while len(chosen) < FILMS:
        apart = np.abs(places[:, None] - places[None, chosen]).sum(axis=2).min(axis=1)
        if not apart.max() > 0:
            break
        chosen.append(int(apart.argmax()))
    return [rows[index].policy for index in sorted(chosen)]


def film_json(comparison: Comparison, shown: Sequence[Policy]) -> str | None:
    """The comparison's first episode under these policies, as JSON for the page's script; None where no scenes are drawn."""
    key = episode_keys(comparison.seed, 1)[0]
    with ThreadPoolExecutor(max_workers=2) as pool:
        scenes = list(pool.map(lambda policy: film_of(policy, key, comparison.slots), shown))
    drawn = {policy.name: scene for policy, scene in zip(shown, scenes, strict=True) if scene is not None}
    if not drawn:
        return None
    return _json(_data(drawn, comparison.slots, comparison.task.spec.slot_s))


def _data(scenes: Mapping[str, Scene], slots: int, slot_s: float | None) -> dict[str, Any]:
    """What the page's script draws: a frame every `stride` slots, in which what befell a user in any of these slots shows.

    Positions are shares of the larger side in 1/65535. Arrays that films share, such as where users are, stand there once.
    """
    first = next(iter(scenes.values()))
    users = first.users_m.shape[1]
    frames_max = max(2, min(FRAMES_MAX, FILM_BYTES_MAX // (users * (4 + 5 * len(scenes)))))
    stride = math.ceil(slots / frames_max)
    starts = np.arange(0, slots, stride)
    ends = np.minimum(starts + stride, slots) - 1
    points = np.concatenate([points.reshape(-1, 2) for scene in scenes.values() for points in (scene.sites_m, scene.users_m)])
    low, high = points.min(axis=0), points.max(axis=0)
    span = float((high - low).max()) or 1.0
    stored: dict[str, int] = {}

    def store(array: np.ndarray, kind: str) -> int:
        return stored.setdefault(base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode(), len(stored))

    films = []
    for name, scene in scenes.items():
        flags = scene.requesting * 1 | scene.failed * 2 | scene.migrating * 4
        moved = np.argwhere(scene.host_site[1:] != scene.host_site[:-1])
        films.append(
            {
                "name": name,
                "sites_m": np.round(scene.sites_m, 2).tolist(),
                "servers": np.asarray(scene.server_sites).tolist(),
                "position": store(np.round((scene.users_m[starts] - low) / span * 65535), "<u2"),
                "serving": store(scene.serving_site[starts], "<u2"),
                "host": store(scene.host_site[starts], "<u2"),
                "flags": store(np.bitwise_or.reduceat(flags, starts, axis=0), "u1"),
                "requests": np.cumsum(scene.requesting.sum(axis=1))[ends].tolist(),
                "failures": np.cumsum(scene.failed.sum(axis=1))[ends].tolist(),
                "moves": [
                    [int(slot) + 1, int(user), int(scene.host_site[slot, user]), int(scene.host_site[slot + 1, user])]
                    for slot, user in moved
                ],
            }
        )
    return {
        "slots": slots,
        "slot_s": slot_s,
        "stride": stride,
        "frames": len(starts),
        "users": users,
        "extent_m": [*low.astype(float).tolist(), *high.astype(float).tolist()],
        "films": films,
        "arrays": list(stored),
    }


def _json(data: Any) -> str:
    """JSON that may stand in a script element, whatever names it holds."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
