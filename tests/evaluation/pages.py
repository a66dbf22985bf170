"""What tests of report pages share: a page taken apart, and comparisons made up without running anything."""

from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np

from edgetwin.evaluation import report
from edgetwin.evaluation.compare import Comparison, Row
from edgetwin.evaluation.statistics import pooled
from edgetwin.problem import Metric, Param, Policy, Ratio, Spec
from edgetwin.scenario import scenario

VOID = {"meta", "link", "br", "input", "wbr", "rect", "path", "circle", "use"}
HOSTILE = '</script><script>alert("1")</script>&amp;<b>'


class Page(HTMLParser):
    """A page's open elements, its texts, what it would load, its identifiers; ill-nested elements are an AssertionError."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.loads, self.ids, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.loads += [given[name] for name in ("src", "href", "xlink:href") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)


def section(page, identity):
    return page.split(f'<section id="{identity}">')[1].split("</section>")[0]


def made_up(names=("one", "two"), scores=((1.0, 3.0), (2.0, 1.0)), costs=((1.0, 2.0), (0.0, 400.0)), **spec):
    """A comparison of host policies of a task without scenes, whose only bound is on what is maximised."""
    network = scenario("two-timescale/physical").model_copy(update={"name": HOSTILE, "notes": (HOSTILE,)})
    metrics = {"score": Metric("points", "higher", HOSTILE), "cost": Metric("1", "lower", "what it takes")}
    task = SimpleNamespace(name="stub", scenario=network, spec=Spec({}, metrics, 5, 5, 5, **spec))
    rows = {}
    for name, score, cost in zip(names, scores, costs, strict=True):
        shares = {key: Ratio(np.array(values), np.ones(len(values))) for key, values in {"score": score, "cost": cost}.items()}
        estimates = {key: pooled(*share) for key, share in shares.items()}
        policy = Policy(name, task, lambda *_: None, runs_on="host", params={"knob": Param(HOSTILE, tuned=True)})
        gap = {"score": 1 - estimates["score"].mean / 4}
        curves = {key: np.array([estimates[key]], dtype=object) for key in task.spec.curves}
        rows[name] = Row(policy, estimates, {"score": 4.0}, gap, shares, curves, 12.0)
    return Comparison(task, 3, len(scores[0]), 5, rows, lambda metrics: {"score": 4.0})


def written(comparison, folder, shown=None):
    return report.write(comparison, folder / "report.html", shown).read_text(encoding="utf-8")
