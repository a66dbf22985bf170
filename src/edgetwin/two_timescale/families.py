"""The families of policies whose frontiers are drawn: each trades failures for energy by a knob of its own.

Knobs are spread so that points lie apart in failures at 20 to 60 users of the physical scenario; which points they make is measured.
"""

from edgetwin.two_timescale.task import TwoTimescale

DEPLOYMENT = "nearest"
SNR = (1.5, 2, 3, 5, 10, 30)
FAILURE = (0.03, 0.04, 0.05, 0.07, 0.1, 0.2)
FAILURE_SEEN_FADING = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
EPSILON = (0.005, 0.01, 0.02, 0.05, 0.1)
PRICE_MJ = (0.1, 0.15, 0.2, 0.3, 0.5, 1)
START = 0.5
"""About where the queue that prices failures stays: from 10, the default, it would fall for half of a comparison."""


def families(task: TwoTimescale, deployment: str | None = None) -> dict[str, tuple[str, ...]]:
    """Policies' names by family, in the order of their knob, all with one deployment, by default `nearest`."""
    sweeps = {
        "full-power": ["full-power"],
        "inversion": [f"inversion[snr={value:g}]" for value in SNR],
        "distance-rule": [f"distance-rule[failure={value:g}]" for value in FAILURE],
        "fading-rule": [f"fading-rule[failure={value:g}]" for value in FAILURE_SEEN_FADING],
        "drift-plus-penalty": [f"drift-plus-penalty[start={START:g},epsilon={value:g}]" for value in EPSILON],
        "min-energy": [*(f"min-energy[price={value:g}]" for value in PRICE_MJ), "min-energy"],
    }
    if task.radio.observation != "extended":
        del sweeps["fading-rule"]
    return {family: tuple(f"{name}+{deployment or DEPLOYMENT}" for name in names) for family, names in sweeps.items()}
