"""Two-timescale synchronisation and migration (Liu, Fu, Guo, Wang, Sun, Zhang): power, CPU and links every slot, twins every frame."""

from edgetwin.problem import Problem
from edgetwin.two_timescale import rules
from edgetwin.two_timescale.task import TwoTimescale

PROBLEM = Problem(
    summary="share power, CPU and links each slot, redeploy twins each frame (Liu et al.)",
    scenario="two-timescale/physical",
    task=TwoTimescale,
    policies=rules.POLICIES,
    learners="edgetwin.two_timescale.agents:LEARNERS",
    studies="edgetwin.two_timescale.figures:STUDIES",
    solver="edgetwin.two_timescale.instances:solve",
    families="edgetwin.two_timescale.families:families",
    compared=(
        "full-power+nearest",
        "inversion[snr=5]+nearest",
        "distance-rule+nearest",
        "distance-rule+static",
        "distance-rule+sticky",
        "distance-rule+genie",
    ),
)
