"""Placement as a mixed-integer linear programme for HiGHS: the quadratic compute cost by perspective cuts, delay limits as rows.

Columns: x of the pairs that are kept, y, loads S_k in units of their mean over all servers, q_k ≥ S_k²/y_k, and with limits v_i = 1 where
user i is relaxed. For any t, S² ≥ 2·t·S − t², so q_k ≥ 2·t·S_k − t²·y_k never cuts off a placement; it is tight at S_k = t. With limits
L_ik (18d), S_k ≤ L_ik where x_ik = 1 and v_i = 0, by the largest load T_k server k can have: S_k + (T_k − L_ik)·(x_ik − v_i) ≤ T_k·y_k.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from edgetwin.association.assignment import LIMIT_TOLERANCE, Assignment
from edgetwin.association.bounds import Fixed
from edgetwin.association.quiet import without_stray_lines

COST_SCALE = 1e3
"""What a good placement costs in the programme's unit: HiGHS stops at an absolute gap of 1e-6"""


class Columns(NamedTuple):
    """Where each variable stands. user, server: of each pair kept."""

    user: NDArray
    server: NDArray
    opened: slice
    load: slice
    square: slice
    relaxed: slice
    total: int


class Programme(NamedTuple):
    """What does not change between solves. unit_load: mean load of the servers; unit_cost: cost of 1 in the objective."""

    assignment: Assignment
    columns: Columns
    objective: NDArray
    rows: tuple[LinearConstraint, ...]
    bounds: Bounds
    unit_load: float
    unit_cost: float


class Solution(NamedTuple):
    """What HiGHS found. bound: nothing costs less, in the assignment's unit; share: x, (users, servers), None where none was found;
    load: S_k, square: q_k, (servers,), relaxed: v, (users,)."""

    bound: float
    share: NDArray | None
    load: NDArray
    square: NDArray
    relaxed: NDArray


def programme(assignment: Assignment, fixed: Fixed, typical_cost: float, most_relaxed: int = 0) -> Programme:
    """The rows of placement over the pairs and servers that are left to decide, with no more than so many users relaxed."""
    users, servers = fixed.keep.shape
    user, server = np.nonzero(fixed.keep & assignment.allowed)
    pairs = len(user)
    opened, load, square = (slice(start, start + servers) for start in pairs + servers * np.arange(3))
    relaxed = slice(square.stop, square.stop + users * (assignment.load_limit is not None))
    columns = Columns(user, server, opened, load, square, relaxed, int(relaxed.stop))
    unit_load = float(assignment.load.sum() / servers) or 1.0
    unit_cost = abs(typical_cost) / COST_SCALE or 1.0
    objective = np.zeros(columns.total)
    objective[:pairs] = assignment.linear[user, server]
    objective[columns.opened] = assignment.open_cost
    objective[columns.square] = assignment.compute * unit_load**2
    upper = np.full(columns.total, np.inf)
    upper[:pairs] = 1
    upper[columns.relaxed] = 1
    upper[columns.opened] = ~fixed.closed
    lower = np.zeros(columns.total)
    lower[columns.opened] = fixed.opened
    rows = _rows(assignment, columns, unit_load, most_relaxed)
    return Programme(assignment, columns, objective / unit_cost, rows, Bounds(lower, upper), unit_load, unit_cost)


def matrix(rows: int, columns: Columns, *terms: tuple[NDArray, NDArray, NDArray | float]) -> sparse.csr_array:
    """So many rows from terms (row, column, coefficient)."""
    row, column = (np.concatenate([term[part] for term in terms]).astype(int) for part in (0, 1))
    value = np.concatenate([np.broadcast_to(term[2], len(term[0])) for term in terms])
    return sparse.csr_array((value, (row, column)), shape=(rows, columns.total))


def _rows(assignment: Assignment, columns: Columns, unit_load: float, most_relaxed: int) -> tuple[LinearConstraint, ...]:
    user, server, pair = columns.user, columns.server, np.arange(len(columns.user))
    users, servers = assignment.linear.shape
    k = np.arange(servers)
    opened, load = columns.opened.start, columns.load.start
    one_host = matrix(users, columns, (user, pair, 1.0))
    rows = [
        LinearConstraint(one_host, 1, 1),
        LinearConstraint(
            matrix(servers, columns, (server, pair, 1.0), (k, opened + k, -assignment.capacity.astype(float))), -np.inf, 0
        ),
        LinearConstraint(matrix(len(pair), columns, (pair, pair, 1.0), (pair, opened + server, -1.0)), -np.inf, 0),
        LinearConstraint(matrix(servers, columns, (server, pair, assignment.load[user] / unit_load), (k, load + k, -1.0)), 0, 0),
    ]
    for group in assignment.apart:
        inside = np.flatnonzero(np.isin(user, group))
        rows.append(LinearConstraint(matrix(servers, columns, (server[inside], inside, 1.0), (k, opened + k, -1.0)), -np.inf, 0))
    if assignment.load_limit is not None:
        rows += _limit_rows(assignment, columns, unit_load, most_relaxed)
    return tuple(rows)


def _limit_rows(assignment: Assignment, columns: Columns, unit_load: float, most_relaxed: int) -> list[LinearConstraint]:
    assert assignment.load_limit is not None
    user, server, pair = columns.user, columns.server, np.arange(len(columns.user))
    opened, load, relaxed = columns.opened.start, columns.load.start, columns.relaxed.start
    most = largest_loads(assignment, most_relaxed)[server] / unit_load
    limit = assignment.load_limit[user, server] * (1 + LIMIT_TOLERANCE) / unit_load
    never = limit < assignment.load[user] / unit_load
    rows = []
    if never.any():
        row, at = np.arange(never.sum()), pair[never]
        rows.append(LinearConstraint(matrix(len(at), columns, (row, at, 1.0), (row, relaxed + user[at], -1.0)), -np.inf, 0))
    relaxing = np.arange(columns.relaxed.start, columns.relaxed.stop)
    rows.append(LinearConstraint(matrix(1, columns, (np.zeros(len(relaxing)), relaxing, 1.0)), -np.inf, most_relaxed))
    some = ~never & (limit < most)
    if some.any():
        row, at, slack = np.arange(some.sum()), pair[some], (most - limit)[some]
        terms = (
            (row, load + server[at], 1.0),
            (row, at, slack),
            (row, relaxed + user[at], -slack),
            (row, opened + server[at], -most[some]),
        )
        rows.append(LinearConstraint(matrix(len(at), columns, *terms), -np.inf, 0))
    return rows


def largest_loads(assignment: Assignment, most_relaxed: int) -> NDArray:
    """What no server's load can exceed with so many users relaxed, (servers,).

    At load S only users whose limit is S or more are in time, so S is at most what those of them that fit, and the relaxed, can bring.
    """
    assert assignment.load_limit is not None
    relaxed = -np.sort(-assignment.load)[:most_relaxed].sum()
    most = np.zeros(len(assignment.compute))
    for k, capacity in enumerate(assignment.capacity):
        users = np.flatnonzero(assignment.allowed[:, k])
        limit = assignment.load_limit[users, k] * (1 + LIMIT_TOLERANCE)
        order = np.argsort(-limit, kind="stable")
        limit, load = limit[order], assignment.load[users[order]]
        fitting = np.array([-np.sort(-load[: last + 1])[:capacity].sum() for last in range(len(users))])
        most[k] = np.minimum(np.maximum(limit, 0), fitting + relaxed).max(initial=relaxed)
    return most


def tangents(columns: Columns, server: NDArray, at: NDArray) -> LinearConstraint:
    """q_k ≥ 2·t·S_k − t²·y_k at t = `at`, in units of `unit_load`, for each `server`."""
    row = np.arange(len(server))
    terms = (
        (row, columns.square.start + server, 1.0),
        (row, columns.load.start + server, -2 * at),
        (row, columns.opened.start + server, at**2),
    )
    return LinearConstraint(matrix(len(server), columns, *terms), 0, np.inf)


def cover(columns: Columns, crowd: NDArray, server: int, user: int) -> LinearConstraint:
    """Where this crowd shares a server, `user`, one of it, is late: not all of them there, or it is relaxed."""
    there = np.flatnonzero((columns.server == server) & np.isin(columns.user, crowd))
    row = np.zeros(len(there))
    terms = ((row, there, 1.0), (row[:1], np.array([columns.relaxed.start + user]), -1.0))
    return LinearConstraint(matrix(1, columns, *terms), -np.inf, len(crowd) - 1)


def solve(
    made: Programme, extra: list[LinearConstraint], *, whole: bool, gap: float, time_limit_s: float, fewest: bool = False
) -> Solution:
    """Solves with further rows. whole: users live at one server, otherwise only servers are open or not and users may be split.
    fewest: minimise the number of relaxed users instead of the cost."""
    columns = made.columns
    integrality = np.zeros(columns.total)
    integrality[: len(columns.user)] = whole
    integrality[columns.opened] = 1
    integrality[columns.relaxed] = whole
    objective = made.objective
    if fewest:
        objective = np.zeros(columns.total)
        objective[columns.relaxed] = 1
    with without_stray_lines():
        found = milp(
            objective,
            constraints=[*made.rows, *extra],
            integrality=integrality,
            bounds=made.bounds,
            options={"mip_rel_gap": gap, "time_limit": max(time_limit_s, 0.01)},
        )
    bound = np.inf if found.status == 2 else -np.inf if found.mip_dual_bound is None else found.mip_dual_bound
    if not fewest:
        bound = bound * made.unit_cost + made.assignment.constant
    if found.x is None:
        nothing = np.zeros(0)
        return Solution(bound, None, nothing, nothing, nothing)
    share = np.zeros(made.assignment.linear.shape)
    share[columns.user, columns.server] = found.x[: len(columns.user)]
    return Solution(bound, share, *(found.x[part] for part in (columns.load, columns.square, columns.relaxed)))
