"""What a network is, as data: scenarios with units and sources, and the sites, servers and tracks they stand for."""

from edgetwin.scenario.load import digest, names, parse_setting, replace, scenario
from edgetwin.scenario.network import Network, network
from edgetwin.scenario.schema import Scenario

__all__ = ["Network", "Scenario", "digest", "names", "network", "parse_setting", "replace", "scenario"]
