"""Is there any placement at all, and if not, what to change: capacities, pins, regions and anti-affinity as a flow of users to servers.

Without anti-affinity a placement exists exactly where every set of users has room on the servers allowed to it (Hall), and a minimum
cut finds the set that has not. With anti-affinity the question is a small integer programme, answered by HiGHS.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from edgetwin.association.assignment import Assignment, Names, listed, server_name, user_name
from edgetwin.errors import InputError


def short_of_room(allowed: NDArray, capacity: NDArray) -> tuple[NDArray, NDArray] | None:
    """Users who together have too little room, and all servers allowed to any of them; None where everyone fits.

    allowed: (users, servers) bool; capacity: (servers,). The minimum cut of the flow source → user → allowed server → sink.
    """
    users, servers = allowed.shape
    source, sink = users + servers, users + servers + 1
    user, server = np.nonzero(allowed)
    tails = np.concatenate([np.full(users, source), user, users + np.arange(servers)])
    heads = np.concatenate([np.arange(users), users + server, np.full(servers, sink)])
    room = np.concatenate([np.ones(users + len(user)), np.clip(capacity, 0, users)]).astype(np.int32)
    graph = sparse.csr_array((room, (tails, heads)), shape=(sink + 1, sink + 1))
    flow = maximum_flow(graph, source, sink)
    if flow.flow_value == users:
        return None
    residual = sparse.csr_array(graph - flow.flow)
    residual.data = np.where(residual.data > 0, residual.data, 0)
    residual.eliminate_zeros()
    reached = np.zeros(sink + 1, bool)
    reached[breadth_first_order(residual, source, return_predecessors=False)] = True
    crowd = np.flatnonzero(reached[:users])
    return crowd, np.flatnonzero(allowed[crowd].any(axis=0))


def rows(assignment: Assignment) -> list[LinearConstraint]:
    """(18a), (18b) and anti-affinity as rows over x, flattened (users·servers,)."""
    users, servers = assignment.linear.shape
    one_host = sparse.kron(sparse.eye_array(users), np.ones((1, servers)), format="csr")
    hosted = sparse.kron(np.ones((1, users)), sparse.eye_array(servers), format="csr")
    constraints = [LinearConstraint(one_host, 1, 1), LinearConstraint(hosted, -np.inf, assignment.capacity)]
    for group in assignment.apart:
        member = np.zeros((1, users))
        member[0, group] = 1
        constraints.append(LinearConstraint(sparse.kron(member, sparse.eye_array(servers), format="csr"), -np.inf, 1))
    return constraints


def any_host(assignment: Assignment) -> NDArray | None:
    """A placement that keeps all rules, of least linear cost, (users,); None where there is none."""
    found = milp(
        assignment.linear.ravel(),
        constraints=rows(assignment),
        integrality=np.ones(assignment.linear.size),
        bounds=Bounds(0, assignment.allowed.ravel().astype(float)),
    )
    return None if found.x is None else found.x.reshape(assignment.linear.shape).argmax(axis=1)


def infeasible(assignment: Assignment, names: Names | None = None) -> str | None:
    """Why no placement exists and what to change, in one line; None where one exists."""
    users, servers = assignment.allowed.shape
    room = int(assignment.capacity.sum())
    if users > room:
        return (
            f"{users} users and room for {room} twins on {servers} servers: add servers, or raise capacities by "
            f"{users - room} in total"
        )
    for user in np.flatnonzero(~assignment.allowed.any(axis=1)):
        return f"user {user_name(user, names)}: no server is allowed to it: loosen its pin or region"
    if (crowded := short_of_room(assignment.allowed, assignment.capacity)) is not None:
        return _too_little_room(assignment, *crowded, names)
    for group in assignment.apart:
        few = np.minimum(assignment.capacity, 1)
        if (crowded := short_of_room(assignment.allowed[group], few)) is not None:
            crowd, where = group[crowded[0]], crowded[1][few[crowded[1]] > 0]
            return (
                f"users {listed(crowd, user_name, names)} are to be kept apart, and only {len(where)} servers with room are allowed "
                f"to these {len(crowd)}: shorten the group or allow more servers"
            )
    if assignment.apart and any_host(assignment) is None:
        return _groups_in_the_way(assignment, names)
    return None


def require_feasible(assignment: Assignment, names: Names | None = None) -> None:
    """Raises InputError where no placement exists."""
    if why := infeasible(assignment, names):
        raise InputError(why)


def _too_little_room(assignment: Assignment, crowd: NDArray, where: NDArray, names: Names | None) -> str:
    who, servers = listed(crowd, user_name, names), listed(where, server_name, names)
    room = int(assignment.capacity[where].sum())
    if len(where) == 1:
        return (
            f"server {servers}: {len(crowd)} users may live nowhere else ({who}) and it has room for {room}: raise its capacity to "
            f"{len(crowd)}, or move {len(crowd) - room} of the pins"
        )
    return (
        f"users {who} ({len(crowd)}) may only live on servers {servers}, which have room for {room}: raise their capacities by "
        f"{len(crowd) - room} in total, or allow more servers"
    )


def _groups_in_the_way(assignment: Assignment, names: Names | None) -> str:
    for index, group in enumerate(assignment.apart):
        without = assignment.apart[:index] + assignment.apart[index + 1 :]
        if any_host(assignment._replace(apart=without)) is not None:
            return (
                f"users {listed(group, user_name, names)} cannot be kept apart with these capacities, pins and regions: shorten that "
                f"group, or give its users more servers"
            )
    return (
        f"the {len(assignment.apart)} anti-affinity groups cannot all be kept with these capacities, pins and regions: shorten groups, "
        f"or allow more servers"
    )
