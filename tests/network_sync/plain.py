"""The problem once more, as plain loops in NumPy written from the paper's equations and the decisions about them alone.

Only the numbers of a scenario's section come from edgetwin; what is drawn (positions, interference, fading) is given.
"""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment


def distance(position, section):
    x, y = position
    length = math.sqrt(x * x + y * y)
    return max(math.sqrt(length) if section.distance == "literal" else length, section.distance_min_blocks)


def rate(fading, far, interference_w, section):
    """(2), (3)."""
    noise_w = interference_w + section.bandwidth_hz * section.noise_density_w_per_hz
    return section.bandwidth_hz * math.log2(1 + section.tx_power_w * fading * far**-2 / noise_w)


def best_sum(table):
    rows, columns = linear_sum_assignment(table, maximize=True)
    return table[rows, columns].sum()


def slot_rates(positions, interference_w, fading, cloud_fading, section):
    """Sum rates of the users without and with a block for the cloud, that block (None where none meets the deadline) and every block's delay.

    fading: (users, rbs); cloud_fading: (rbs,).
    """
    users, rbs = len(positions), len(interference_w)
    table, delay_s = np.zeros((users, rbs)), np.zeros(rbs)
    bits = section.data_bits
    if section.refresh == "partial":
        bits = bits * section.packet_users / users
    for n in range(rbs):
        delay_s[n] = bits / rate(cloud_fading[n], distance(section.cloud_blocks, section), interference_w[n], section)
        for u in range(users):
            table[u, n] = rate(fading[u, n], distance(positions[u], section), interference_w[n], section)
    chosen = None
    for n in range(rbs):
        if delay_s[n] < section.deadline_s and (chosen is None or delay_s[n] > delay_s[chosen]):
            chosen = n
    without = best_sum(table)
    return without, None if chosen is None else best_sum(np.delete(table, chosen, axis=1)), chosen, delay_s


class Twin:
    """Each user's last packet and the slots since; `mean_step` (users, 2) for drift, None for a straight line through the history."""

    def __init__(self, history, section, mean_step=None):
        self.section, self.mean_step = section, mean_step
        self.own = [list(history[:, u]) for u in range(history.shape[1])]
        self.packet = [np.array(past) for past in self.own]
        self.age = [1] * history.shape[1]

    def forecast(self, user):
        packet = self.packet[user]
        step = (packet[-1] - packet[0]) / (len(packet) - 1) if self.mean_step is None else self.mean_step[user]
        return packet[-1] + self.age[user] * step

    def end_slot(self, truth, synced):
        """(4), and what the next forecasts start from. truth: (M, users, 2)."""
        for user in range(len(self.own)):
            self.own[user].append(truth[-1, user] if synced[user] else self.forecast(user))
        for user in np.flatnonzero(synced):
            with_history = self.section.packet == "history"
            self.packet[user] = truth[:, user] if with_history else np.array(self.own[user][-self.section.history_slots :])
        self.age = [1 if was else age + 1 for was, age in zip(synced, self.age, strict=True)]


def episode(section, start, truth, interference_w, fading, cloud_fading, asked, mean_step=None):
    """An episode's slots, a dictionary each. start: (M, users, 2); truth: (slots, M, users, 2); asked: (slots, users), who is to be sent."""
    twin, users, slots = Twin(start, section, mean_step), start.shape[1], []
    weight = section.rate_weight
    for t in range(len(truth)):
        positions = truth[t, -1]
        errors = [float(((positions[u] - twin.forecast(u)) ** 2).sum()) for u in range(users)]
        without, with_sync, chosen, _ = slot_rates(positions, interference_w[t], fading[t], cloud_fading[t], section)
        synced = np.zeros(users, bool)
        if chosen is not None:
            wanted = sorted(np.flatnonzero(asked[t]), key=lambda u: -errors[u])
            synced[wanted[: section.packet_users or users]] = True
        gap = sum(error for error, was in zip(errors, synced, strict=True) if not was) / users
        sum_rate = with_sync if synced.any() else without
        slots.append(
            {
                "reward": weight * sum_rate - (1 - weight) * gap,
                "cost": weight * (without - sum_rate) + (1 - weight) * gap,
                "sum_rate": sum_rate,
                "squared_error": gap,
                "refreshed_users": synced.sum(),
                "syncs": float(synced.any()),
                "error_before": np.array(errors),
                "age": np.array(twin.age),
                "serving": without,
                "syncing": math.nan if with_sync is None else with_sync,
                "feasible": chosen is not None,
            }
        )
        twin.end_slot(truth[t], synced)
    return slots
