"""edgetwin: where digital twins live, when they sync and when they migrate in a wireless edge network."""

from importlib.metadata import version

from edgetwin.api import check, compare, frontier, load, place, policy, reproduce, resume, scenario, solve, task, train
from edgetwin.errors import DataUnavailable, InputError

__version__ = version("edgetwin")
__all__ = [
    "DataUnavailable",
    "InputError",
    "__version__",
    "check",
    "compare",
    "frontier",
    "load",
    "place",
    "policy",
    "reproduce",
    "resume",
    "scenario",
    "solve",
    "task",
    "train",
]
