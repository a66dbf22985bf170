"""How good a policy is: rollouts on common random numbers, metrics with intervals, comparisons, reports, the contract kit.

Nothing here knows a particular problem; it meets tasks and policies through their contracts alone.
"""
