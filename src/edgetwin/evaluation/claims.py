"""What a paper says, what was measured, and the verdict: computed from the measurement by a stated rule, never typed in."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from edgetwin.evaluation.statistics import Estimate

Verdict = Literal["reproduced", "partly", "not reproduced", "cannot be judged"]


class Judgement(NamedTuple):
    """A verdict and the sentence that gives its reason."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Rule:
    """How an estimate is judged: `text` states it for people, `judge(low, high)` decides by the ends of the 95 % interval."""

    text: str
    judge: Callable[[float, float], Judgement]


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper (`where` it stands, its number `paper` where it has one) beside `measured`, a name for each estimate.

    `rule` judges each estimate; the claim is reproduced where all are. The unit is that of `paper` and of the estimates.
    """

    says: str
    where: str
    measured: Mapping[str, Estimate]
    rule: Rule
    paper: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.measured:
            raise ValueError(f"claim {self.says!r}: nothing was measured")

    @property
    def judgement(self) -> Judgement:
        """The verdict on all that was measured: theirs where they agree, "partly" where some are at least partly reproduced."""
        each = {name: _judged(estimate, self.rule) for name, estimate in self.measured.items()}
        verdicts = {judgement.verdict for judgement in each.values()}
        reason = "; ".join((f"{name}: " if len(each) > 1 else "") + judgement.reason for name, judgement in each.items())
        if len(verdicts) == 1:
            return Judgement(verdicts.pop(), reason)
        if verdicts & {"reproduced", "partly"}:
            return Judgement("partly", reason)
        return Judgement("cannot be judged", reason)

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    def to_json(self) -> dict[str, Any]:
        """The claim as plain data; values that do not exist are None."""
        return {
            "says": self.says,
            "where": self.where,
            "paper": self.paper,
            "unit": self.unit,
            "measured": {
                name: {
                    "mean": estimate.mean if math.isfinite(estimate.mean) else None,
                    "ci95": list(estimate.ci95) if estimate.ci95 and all(map(math.isfinite, estimate.ci95)) else None,
                }
                for name, estimate in self.measured.items()
            },
            "rule": self.rule.text,
            "verdict": self.judgement.verdict,
            "reason": self.judgement.reason,
        }


def equals(number: float) -> Rule:
    """The paper's number is in the interval: reproduced; else not. An interval as wide as the number's size cannot tell."""

    def judge(low: float, high: float) -> Judgement:
        if not low <= number <= high:
            return Judgement("not reproduced", f"the interval does not contain {_text(number)}")
        if high - low > abs(number):
            return Judgement("cannot be judged", f"the interval contains {_text(number)} but is wider than that")
        return Judgement("reproduced", f"the interval contains {_text(number)}")

    return Rule(f"the 95 % interval contains {_text(number)} and is no wider than that", judge)


def at_least(number: float) -> Rule:
    """All of the interval is at or above the number: reproduced; all below: not; else the data cannot tell."""

    def judge(low: float, high: float) -> Judgement:
        if low >= number:
            return Judgement("reproduced", f"the whole interval is at or above {_text(number)}")
        if high < number:
            return Judgement("not reproduced", f"the whole interval is below {_text(number)}")
        return Judgement("cannot be judged", f"the interval lies on both sides of {_text(number)}")

    return Rule(f"the whole 95 % interval is at or above {_text(number)}", judge)


def at_most(number: float) -> Rule:
    """All of the interval is at or below the number: reproduced; all above: not; else the data cannot tell."""

    def judge(low: float, high: float) -> Judgement:
        if high <= number:
            return Judgement("reproduced", f"the whole interval is at or below {_text(number)}")
        if low > number:
            return Judgement("not reproduced", f"the whole interval is above {_text(number)}")
        return Judgement("cannot be judged", f"the interval lies on both sides of {_text(number)}")

    return Rule(f"the whole 95 % interval is at or below {_text(number)}", judge)


def within(low_end: float, high_end: float) -> Rule:
    """All of the interval is in the range: reproduced; all outside: not; else the data cannot tell."""
    allowed = f"{_text(low_end)} … {_text(high_end)}"

    def judge(low: float, high: float) -> Judgement:
        if low_end <= low and high <= high_end:
            return Judgement("reproduced", f"the whole interval is in {allowed}")
        if high < low_end or low > high_end:
            return Judgement("not reproduced", f"the whole interval is outside {allowed}")
        return Judgement("cannot be judged", f"the interval is partly inside and partly outside {allowed}")

    return Rule(f"the whole 95 % interval is in {allowed}", judge)


def gain_of(number: float) -> Rule:
    """For a claimed gain (a difference or a saving, above 0): is there one, and does it reach the paper's number?

    A gain above 0 whose interval reaches or exceeds the number is reproduced, one that stays below it is partly reproduced. An interval that
    contains 0 shows no gain: not reproduced where it excludes the number, else the data cannot tell.
    """
    if not number > 0:
        raise ValueError(f"gain_of({number}): a gain is above 0; turn the difference round")

    def judge(low: float, high: float) -> Judgement:
        if high < 0:
            return Judgement("not reproduced", "the whole interval is below 0: a loss")
        if low > number:
            return Judgement("reproduced", f"a gain, and the whole interval is above {_text(number)}")
        if low > 0 and high >= number:
            return Judgement("reproduced", f"a gain, and the interval reaches {_text(number)}")
        if low > 0:
            return Judgement("partly", f"a gain, but the whole interval is below {_text(number)}")
        if high < number:
            return Judgement("not reproduced", f"no gain to be seen, and the whole interval is below {_text(number)}")
        return Judgement("cannot be judged", f"the interval contains both 0 and {_text(number)}")

    return Rule(f"the 95 % interval is above 0 and reaches or exceeds {_text(number)} (above 0 alone: partly)", judge)


def _judged(estimate: Estimate, rule: Rule) -> Judgement:
    if not math.isfinite(estimate.mean):
        return Judgement("cannot be judged", "there is no value")
    if estimate.ci95 is None or not all(map(math.isfinite, estimate.ci95)):
        return Judgement("cannot be judged", "one sample has no interval")
    return rule.judge(*estimate.ci95)


def _text(number: float) -> str:
    return f"{number:.6g}"
