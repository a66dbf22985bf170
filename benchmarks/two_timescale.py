"""Writes docs/results.md and its picture: the rules on the three scenarios, and how energy answers to K, M, request rate, data and bandwidth.

make results      (or this script alone)
"""

import platform
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import edgetwin as et
from edgetwin.evaluation import plots
from edgetwin.evaluation.film import film
from edgetwin.problem import episode_keys
from edgetwin.tables import number, progress_bar

DOCS = Path(__file__).parent.parent / "docs"
PHYSICAL, LITERAL = "two-timescale/physical", "two-timescale/paper-literal"
RULES = (
    "full-power+nearest",
    "inversion[snr=5]+nearest",
    "inversion[snr=5]+static",
    "inversion[snr=5]+sticky",
    "distance-rule+nearest",
    "distance-rule+sticky",
    "distance-rule[failure=0.1]+sticky",
    "inversion[snr=5]+genie",
    "min-energy+nearest",
    "min-energy+planned",
    "drift-plus-penalty+planned",
)
SCENARIOS = (PHYSICAL, LITERAL, "melbourne")
SWEEPS = {
    "users K (Fig. 7)": [{"users.count": count} for count in (20, 30, 58)],
    "users K, `paper-literal` (Figs. 8, 14)": [{"users.count": count} for count in (20, 30, 58)],
    "sites M (Fig. 9)": [{"users.count": 25, "sites.count": count} for count in (3, 5, 8)],
    "request probability λ (Fig. 10)": [{"two_timescale.request_probability": rate} for rate in (0.3, 0.5, 0.7)],
    "data D, times (Fig. 11)": [{"two_timescale.data_bits": [15e3 * times, 25e3 * times]} for times in (1.0, 1.25, 1.5)],
    "bandwidth B, Hz (Fig. 11)": [{"two_timescale.bandwidth_hz": width} for width in (8e6, 10e6, 12e6)],
}
FAILED = (0.0, 0.01, 0.02, 0.05, 0.1, 0.4)
OPTIMUM = {20: (0.038, 0.001), 25: (0.043, 0.002), 30: (0.0453, 0.0034), 58: (0.149, 0.013)}
"""Users, and an independent prototype's energy in mJ and failures per request."""
SWEPT = ("full-power+nearest", "inversion[snr=5]+nearest")


def interval(estimate, digits=3):
    return f"{number(estimate.mean, digits)} [{number(estimate.ci95[0], digits)}, {number(estimate.ci95[1], digits)}]"


def rules_table(comparison):
    lines = [
        "| policy | knows | energy, mJ per user and slot | over the bound | failed requests | worst user, per slot | migrations per frame |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in comparison.rows.items():
        metrics = row.metrics
        tuned = ", ".join(f"{key}={number(float(param.value))}" for key, param in row.params.items() if param.tuned)
        label = f"`{name}`" + (f" (tuned: {tuned})" if tuned else "") + (" (reference)" if row.policy.reference else "")
        cells = [
            label,
            row.policy.information,
            interval(metrics["energy_mj_per_slot"]),
            f"{number(1 + row.gap['energy_mj_per_slot'])} ×",
            interval(metrics["failure_per_request"]),
            interval(metrics["failure_worst_user"]),
            number(metrics["migrations_per_frame"].mean),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def network_picture(task, slots=1000):
    """Sites, servers and a minute of movement of the first network, as a map."""
    policy = et.policy(task, "inversion[snr=5]+sticky")
    scene = film(policy, episode_keys(0, 1)[0], slots)
    figure, axes = plt.subplots(figsize=(6, 6))
    for user in range(scene.users_m.shape[1]):
        axes.plot(*scene.users_m[:, user].T, color="#7b8794", linewidth=1)
    axes.scatter(*scene.users_m[-1].T, s=14, color="#0072b2", label="user, with its way of the last 50 s", zorder=3)
    served = set(scene.server_sites.tolist())
    for with_server, marker, face, label in ((True, "s", "black", "site with a server"), (False, "^", "white", "site without")):
        chosen = [site for site in range(len(scene.sites_m)) if (site in served) == with_server]
        axes.scatter(*scene.sites_m[chosen].T, s=60, marker=marker, facecolor=face, edgecolor="black", label=label, zorder=4)
    axes.set(xlim=(0, task.network.width_m), ylim=(0, task.network.width_m), xlabel="x, m", ylabel="y, m", aspect="equal")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncol=3, frameon=False, fontsize=8)
    figure.savefig(DOCS / "pictures" / "network-melbourne.png", dpi=110, facecolor="white", bbox_inches="tight")


def bound_row(name, comparison):
    bounds = [comparison.bound_at({"failure_per_request": failed})["energy_mj_per_slot"] for failed in FAILED]
    return f"| `{name}` | " + " | ".join(number(bound) for bound in bounds) + " |"


def sweep_rows(title, settings, bar):
    rows = []
    for change in settings:
        comparison = et.compare(et.task("two-timescale", et.scenario(LITERAL if "literal" in title else PHYSICAL, change)), SWEPT)
        bar.advance(bar.task_ids[0])
        key, value = list(change.items())[-1]
        shown = value[0] / 15e3 if key == "two_timescale.data_bits" else value
        cells = [f"{shown:g}"]
        for rule in SWEPT:
            metrics = comparison.rows[rule].metrics
            cells += [interval(metrics["energy_mj_per_slot"]), interval(metrics["failure_per_request"])]
        rows.append(f"| {title} | " + " | ".join(cells) + " |")
    return rows


def optimum_rows(bar):
    """The optimum of every slot with twins that follow their users, beside the prototype's figures."""
    rows = []
    for users, expected in OPTIMUM.items():
        comparison = et.compare(et.task("two-timescale", et.scenario(PHYSICAL, {"users.count": users})), ["min-energy+nearest"])
        bar.advance(bar.task_ids[0])
        (row,) = comparison.rows.values()
        found = [interval(row.metrics[name]) for name in ("energy_mj_per_slot", "failure_per_request")]
        cells = [str(users), *found, *map(str, expected), f"{number(1 + row.gap['energy_mj_per_slot'])} ×"]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def update_readme(page):
    """Puts Melbourne's table between the marks in README.md."""
    readme = DOCS.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    start, end = "<!-- results -->\n", "<!-- /results -->"
    section = page[page.index("## melbourne") :]
    table = "\n".join(line for line in section[: section.index("![")].splitlines() if line.startswith("|"))
    said = (
        "Melbourne, 64 networks × 50 s, seed 0, 95 % intervals in brackets; what knows the `state` is the optimum of every slot:"
    )
    before, after = text[: text.index(start) + len(start)], text[text.index(end) :]
    readme.write_text(f"{before}{said}\n\n{table}\n{after}", encoding="utf-8")


def main():
    total = len(SCENARIOS) + sum(map(len, SWEEPS.values())) + len(OPTIMUM)
    with progress_bar(total, "comparisons") as bar:
        parts, bounds = [], []
        for name in SCENARIOS:
            comparison = et.compare(et.task("two-timescale", name), RULES)
            bar.advance(bar.task_ids[0])
            parts.append(f"## {name}\n\n{comparison.task.scenario.summary}.\n\n{rules_table(comparison)}\n")
            bounds.append(bound_row(name, comparison))
            if name == "melbourne":
                network_picture(comparison.task)
            picture = f"frontier-{name.replace('/', '-')}.png"
            plots.frontier(comparison).savefig(DOCS / "pictures" / picture, dpi=110, facecolor="white", bbox_inches="tight")
            parts.append(f"![Energy against failures on {name}, with the proven lower bound](pictures/{picture})\n")
        sweeps = [row for title, settings in SWEEPS.items() for row in sweep_rows(title, settings, bar)]
        optima = optimum_rows(bar)
    heads = [f"`{rule}`: {what}" for rule in SWEPT for what in ("energy, mJ per user and slot", "failed requests")]
    page = f"""# Results

Written by `make results` with edgetwin {et.__version__}, Python {platform.python_version()}; 64 networks × 1000 slots, seed 0, 95 % intervals
in brackets (bootstrap over networks). The same command gives the same numbers on the same machine. "Over the bound" compares with what
no policy that fails as often can need less than ([the bound and its proof](two-timescale.md)); it does not know
where twins are and what shares suit everybody, so it need not be attainable. Policies that know the `state` solve every slot to its
optimum; those marked *reference* break a rule of the problem.

{chr(10).join(parts)}
## The bound

Energy, mJ per user and slot, below which no policy can be on these networks at a share of failed requests:

| failed requests | {" | ".join(f"{failed:.0%}" for failed in FAILED)} |
|---|{"---|" * len(FAILED)}
{chr(10).join(bounds)}

## The optimum of every slot

`min-energy+nearest`: powers, CPU and link shares at each slot's optimum, as many requests served as can be, twins that follow
their users every frame (each move fails the requests of ten slots). Beside it the figures of an independent prototype.

| users | energy, mJ per user and slot | failed requests | prototype: energy | failed requests | over the bound |
|---|---|---|---|---|---|
{chr(10).join(optima)}

## How energy answers to the network

On `two-timescale/physical` (but where told), one setting changed at a time; the number of the paper's figure whose direction it checks in brackets
(Fig. 9 at 25 users). The paper's own curves are of learned policies; these are of rules, so only directions compare.

| setting | value | {" | ".join(heads)} |
|---|---|{"---|" * len(heads)}
{chr(10).join(sweeps)}
"""
    (DOCS / "results.md").write_text(page, encoding="utf-8")
    update_readme(page)


if __name__ == "__main__":
    (DOCS / "pictures").mkdir(parents=True, exist_ok=True)
    main()
