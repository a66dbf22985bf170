"""A comparison as one HTML file that opens from disk: the table, the pictures, the networks moving, and what it all rests on.

The page is `report.html` with `report.css` and `report.js` inside it; it loads nothing from anywhere.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Any

from edgetwin.evaluation import plots
from edgetwin.evaluation.compare import Comparison, Row
from edgetwin.evaluation.report_film import film_json, to_film
from edgetwin.evaluation.report_learning import Trained, learning
from edgetwin.evaluation.statistics import Estimate
from edgetwin.files import replacing
from edgetwin.problem import KNOWLEDGE, Policy
from edgetwin.scenario import digest, names, scenario


def write(comparison: Comparison, path: Path, film: Sequence[str] | None) -> Path:
    """Writes the report to `path`, whose folder is made where it is missing; `film` names the policies shown moving.

    By default these are the first and the two least like it; none are shown where `film` is empty or the task draws no scenes.
    Raises InputError where `path` cannot be written or `film` names what cannot be shown; then nothing is left behind.
    """
    shown = to_film(comparison, film)
    with replacing(path) as file:
        file.write(_page(comparison, shown))
    return path


def _page(comparison: Comparison, shown: Sequence[Policy]) -> str:
    sections = [_head(comparison), _results(comparison)]
    if comparison.task.spec.frontier is not None:
        sections.append(_frontier(comparison))
    if comparison.task.spec.curves and comparison.slots > comparison.task.spec.report_slots:
        sections.append(_curves(comparison))
    if learned := learning(comparison):
        sections.append(_section("Learning", learned, "learning"))
    sections += [_film(comparison, shown), _reading(comparison), _scenario(comparison)]
    return Template(_part("report.html")).substitute(
        title=escape(f"edgetwin: {comparison.task.name} on {comparison.task.scenario.name}"),
        css=_part("report.css"),
        script=_part("report.js"),
        body="\n".join(sections),
        version=escape(metadata.version("edgetwin")),
    )


def _part(name: str) -> str:
    return (resources.files("edgetwin.evaluation") / name).read_text(encoding="utf-8")


def _section(heading: str, body: str, identity: str) -> str:
    return f'<section id="{identity}"><h2>{escape(heading)}</h2>\n{body}</section>'


# What was compared, and how to do it again.


def _head(comparison: Comparison) -> str:
    network = comparison.task.scenario
    facts = {
        "policies": len(comparison.rows),
        "episodes": f"{comparison.episodes} × {comparison.slots} slots",
        "seed": comparison.seed,
        "scenario digest": digest(network)[:12],
        "edgetwin": metadata.version("edgetwin"),
    }
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in network.notes)
    return (
        f"<header><h1>{escape(comparison.task.name)} on {escape(network.name)}</h1>"
        f'<p class="soft">{escape(network.summary)}</p><dl class="facts">{listed}</dl>'
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + f"<details><summary>Make it again</summary><pre>{escape(_recipe(comparison))}</pre></details></header>"
    )


def _recipe(comparison: Comparison) -> str:
    """Python that makes this comparison again."""
    network, settings = comparison.task.scenario, ""
    name = network.name if network.name in names() else f"{network.name}.toml"
    if name == network.name:
        preset = dict(_values(scenario(name).model_dump()))
        changed = {key: value for key, value in _values(network.model_dump()) if key not in preset or preset[key] != value}
        settings = f", {changed}" if changed else ""
    policies = "".join(f"    {_made_again(row.policy)},\n" for row in comparison.rows.values())
    return (
        f"import edgetwin as et\n\nnetwork = et.scenario({name!r}{settings})\ntask = et.task({comparison.task.name!r}, network)\n"
        f"policies = [\n{policies}]\n"
        f"table = et.compare(task, policies, episodes={comparison.episodes}, slots={comparison.slots}, seed={comparison.seed})\n"
        'table.report("report.html")\n'
    )


def _made_again(policy: Policy) -> str:
    """Python for a policy in a comparison: its name; for a trained one its run's folder, or the training."""
    if not isinstance(policy, Trained):
        return repr(policy.name)
    if policy.folder is not None:
        return repr(str(policy.folder) + "[elsewhere=true]" * ("elsewhere" in policy.params))
    return f"et.train(task, {policy.about['algorithm']!r}, {policy.about['budget']}, {policy.about['seed']})"


# The table.


def _results(comparison: Comparison) -> str:
    metrics = comparison.task.spec.metrics
    heads = [_header("policy", "", "text", "", "ascending")]
    for name, metric in metrics.items():
        arrow = {"lower": "↓ lower is better", "higher": "↑ higher is better", None: ""}[metric.better]
        unit = " ".join([*([] if metric.unit in ("", "1") else [metric.unit]), arrow[:1]])
        first = "descending" if metric.better == "higher" else "ascending"
        heads.append(_header(name, unit, "", f"{metric.meaning} [{metric.unit}] {arrow}".strip(), first))
    heads.append(_header("knows", "", "text", "what the policy is shown: see below", "ascending"))
    where = "median time of one decision for one network; device: compiled with the network, host: one decision at a time"
    heads.append(_header("decision time", "", "", where, "ascending"))
    standing = {name: _standing(comparison, name) for name in metrics}
    rows = "".join(_row(number, row, standing) for number, row in enumerate(comparison.rows.values(), 1))
    meanings = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(metric.unit)}</td><td>{escape(metric.better or '')}</td>"
        f"<td>{escape(metric.meaning)}</td></tr>"
        for name, metric in metrics.items()
    )
    marks = [
        "Click a header to sort.",
        '<span class="swatch" style="background: var(--best)"></span>best of its column',
        '<span class="swatch" style="background: var(--near)"></span>not clearly worse than the best'
        if comparison.episodes > 1
        else "",
    ]
    return _section(
        "Results",
        f'<p class="note">{" &ensp; ".join(filter(None, marks))}</p><div class="scroll" tabindex="0"><table class="results">'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<details><summary>What the metrics mean</summary><div class="wide"><table class="values">'
        "<thead><tr><th>metric</th><th>unit</th><th>better</th><th>meaning</th></tr></thead>"
        f"<tbody>{meanings}</tbody></table></div></details>",
        "results",
    )


def _header(name: str, unit: str, kind: str, title: str, first: str) -> str:
    words = escape(name).replace("_", "_<wbr>")
    small = f'<br><span class="unit">{escape(unit)}</span>' if unit else ""
    told = f'class="{kind}" data-first="{first}" title="{escape(title)}"'
    return f'<th scope="col" {told}><button type="button">{words}{small}</button></th>'


def _row(number: int, row: Row, standing: Mapping[str, Mapping[str, str]]) -> str:
    policy = row.policy
    chips = ['<span class="chip reference" title="decides in a relaxed world: no rival, but a mark to aim at">reference</span>']
    chips = chips if policy.reference else []
    shown = {"trained_slots"} if isinstance(policy, Trained) else set(row.params)
    for name, param in ((name, param) for name, param in row.params.items() if name in shown):
        value = f"{param.value:.3g}" if isinstance(param.value, float) else str(param.value)
        tuned = " <em>tuned</em>" if param.tuned else ""
        chips.append(
            f'<span class="chip" title="{escape(f"{name} = {param.value}")}">{escape(f"{name} = {value}")}{tuned}</span>'
        )
    cells = "".join(_cell(row, name, standing[name].get(policy.name, "")) for name in row.metrics)
    duration = f"{row.decision_us:.0f} µs" if row.decision_us < 1000 else f"{row.decision_us / 1000:.3g} ms"
    return (
        f'<tr><th scope="row" data-value="{number}">{_number(number, policy)}<span class="name">{_breakable(policy.name)}</span>'
        f"<div>{''.join(chips)}</div></th>{cells}"
        f'<td class="text" data-value="{KNOWLEDGE.index(policy.information)}">{policy.information}</td>'
        f'<td data-value="{row.decision_us:.1f}">{duration}<small>on {policy.runs_on}</small></td></tr>'
    )


def _cell(row: Row, metric: str, kind: str) -> str:
    estimate, bound = row.metrics[metric], row.bound.get(metric, math.nan)
    if not math.isfinite(estimate.mean):
        return '<td data-value="">–</td>'
    mean, interval = _shown(estimate)
    lines = [f"<small>{interval}</small>"] if interval else []
    if math.isfinite(bound):
        lines.append(f"<small>bound {_plain(bound)}</small>")
        lines += [f"<small>{_gap(row, metric)}</small>"] if math.isfinite(row.gap.get(metric, math.nan)) else []
    return f'<td class="{kind}" data-value="{estimate.mean!r}"><b>{mean}</b>{"".join(lines)}</td>'


def _gap(row: Row, metric: str) -> str:
    """How far a metric is from its bound: as a multiple of it from twice on, else in per cent."""
    ratio = row.metrics[metric].mean / row.bound[metric]
    if ratio >= 2:
        return f"×{_plain(ratio)} the bound"
    return f"{100 * (ratio - 1):+.1f} %".replace("-", "−")


def _standing(comparison: Comparison, metric: str) -> dict[str, str]:
    """Which policies are "best" in a metric and which "near": the paired interval of their difference to the best holds 0."""
    better = comparison.task.spec.metrics[metric].better
    rivals = {
        name: row.metrics[metric].mean
        for name, row in comparison.rows.items()
        if not row.policy.reference and math.isfinite(row.metrics[metric].mean)
    }
    if better is None or len(rivals) < 2:
        return {}
    best = (min if better == "lower" else max)(rivals, key=lambda name: rivals[name])
    standing = {}
    for name, mean in rivals.items():
        apart = comparison.difference(metric, name, best).ci95
        if mean == rivals[best]:
            standing[name] = "best"
        elif apart and apart[0] <= 0 <= apart[1]:
            standing[name] = "near"
    return standing


def _shown(estimate: Estimate) -> tuple[str, str]:
    """A mean and its interval, with the two digits of the interval's half width that mean something."""
    if estimate.ci95 is None or not all(map(math.isfinite, estimate.ci95)):
        return _plain(estimate.mean), ""
    low, high = estimate.ci95
    digits = _decimals((high - low) / 2 or abs(estimate.mean) / 10)
    return _fixed(estimate.mean, digits), f"[{_fixed(low, digits)}, {_fixed(high, digits)}]"


def _plain(value: float) -> str:
    return _fixed(value, _decimals(abs(value) / 10))


def _decimals(size: float) -> int:
    return max(0, 1 - math.floor(math.log10(size))) if size > 0 else 0


def _fixed(value: float, digits: int) -> str:
    return (f"{value:,.{digits}f}" if digits <= 6 else f"{value:.3g}").replace("-", "−")


def _breakable(name: str) -> str:
    return escape(name).replace("+", "+<wbr>")


def _number(number: int, policy: Policy) -> str:
    colour = f"var(--c{1 + (number - 1) % len(plots.PALETTE)})"
    if policy.reference:
        return f'<span class="number hollow" style="color: {colour}">{number}</span>'
    return f'<span class="number" style="background: {colour}">{number}</span>'


# The pictures.


def _frontier(comparison: Comparison) -> str:
    x, y = comparison.task.spec.frontier or ("", "")
    picture = plots.svg(plots.frontier(comparison), "frontier", f"{y} against {x}, a numbered point for each policy")
    text = "Each policy with its 95 % intervals both ways"
    if any(row.bound.get(y) is not None for row in comparison.rows.values()):
        text += "; the line is the proven bound, and no policy can be in the shaded region"
    return _section(f"{y} against {x}", f'<p class="note">{text}.</p><figure class="wide">{picture}</figure>', "frontier")


def _curves(comparison: Comparison) -> str:
    spec = comparison.task.spec
    panels = ""
    for place, metric in enumerate(spec.curves):
        picture = plots.svg(
            plots.curve(comparison, metric), f"curve{place}", f"{metric} over time, a numbered line for each policy"
        )
        panels += f"<figure>{picture}</figure>"
    key = "".join(
        f"<span>{_number(number, row.policy)}{_breakable(name)}</span>"
        for number, (name, row) in enumerate(comparison.rows.items(), 1)
    )
    return _section(
        "Over time",
        f'<p class="note">A point for every {spec.report_slots} slots, over all episodes; bands are 95 % intervals.</p>'
        f'<div class="panels">{panels}</div><div class="key">{key}</div>',
        "curves",
    )


def _film(comparison: Comparison, shown: Sequence[Policy]) -> str:
    data = film_json(comparison, shown)
    return (
        _section("The first episode, moving", Template(_part("report_film.html")).substitute(data=data), "film") if data else ""
    )


# What it rests on, and how to read it.


def _scenario(comparison: Comparison) -> str:
    network = comparison.task.scenario
    rows = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(_value(value))}</td><td>{escape(network.sources.get(key, ''))}</td></tr>"
        for key, value in _values(network.model_dump())
    )
    return _section(
        "The scenario",
        "<details><summary>Every value, and where it comes from</summary>"
        '<div class="wide"><table class="values"><thead><tr><th>key</th><th>value</th><th>source</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>",
        "scenario",
    )


def _values(sections: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a scenario, without what describes it."""
    for key, value in sections.items():
        if not prefix and key in ("name", "summary", "notes", "sources"):
            continue
        if isinstance(value, Mapping):
            yield from _values(value, f"{prefix}{key}.")
        elif prefix or value is not None:
            yield f"{prefix}{key}", value


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.12g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return "none" if value is None else str(value)


def _reading(comparison: Comparison) -> str:
    rows = comparison.rows.values()
    told = {
        "Same networks": True,
        "Interval": comparison.episodes > 1,
        "No interval": comparison.episodes == 1,
        "Bound": comparison.bound_at is not None,
        "Knows": True,
        "Reference": any(row.policy.reference for row in rows),
        "Tuned": any(param.tuned for row in rows for param in row.params.values()),
        "Decision time": True,
    }
    listed = "".join(f"<dt>{word}</dt><dd>{escape(_READING[word])}</dd>" for word, needed in told.items() if needed)
    return _section("How to read this page", f'<dl class="reading">{listed}</dl>', "reading")


_READING = {
    "Same networks": "All policies met the same networks, with the same draws in every slot: movement, fading, requests (common random "
    "numbers). So two policies can differ for certain although their intervals overlap: what counts is the interval of their "
    "difference, network by network, and that decides what is “not clearly worse” in the table.",
    "Interval": "Numbers in brackets are 95 % intervals: how far the mean would scatter with other networks, judged by drawing "
    "again and again from these (bootstrap). With fewer than about 20 episodes they are rough, and rather too narrow.",
    "No interval": "With one episode there are none: nothing tells how far the values would scatter with other networks.",
    "Bound": "What no policy whatever can pass in these very episodes, even one that knows the future, as long as it does no worse in "
    "the metrics the bound depends on (such as the share of requests it lets fail). It is proven, but perhaps out of reach: a gap is "
    "the most that is left to gain.",
    "Knows": "observation: what its agents see. state: also the full current state, such as every channel. trace: the future as well. "
    "A policy that knows less and one that knows more are not peers.",
    "Reference": "Decides in a relaxed world, where some rule does not hold for it. It competes with nobody, and shows what that "
    "rule costs.",
    "Tuned": "A knob whose value was found on other episodes than these.",
    "Decision time": "The median of one decision for one network, on the machine that wrote this page; it will not be the same to "
    "the digit next time.",
}
