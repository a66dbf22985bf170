"""`check` and `bench`: does it keep its contract, and how fast is it here."""

import sys

from edgetwin.cli.shared import Json, Setting, app, console, dumped, task_on


@app.command
def check(
    task: str, *, policy: str | None = None, scenario: str | None = None, set: Setting | None = None, json: Json = False
) -> int:
    """Run a task, or a policy on it, through every clause of its contract.

    Parameters
    ----------
    task
        A task by name, or the problem of a module of yours as package.module:PROBLEM.
    policy
        A policy to check instead of the task.
    """
    from edgetwin import api, registry

    chosen, problem = task_on(task, scenario, set)
    known = None if task in registry.problems() else problem.policies
    subject = chosen if policy is None else registry.policy(chosen, policy, known)
    clauses = api.check(subject)
    if json:
        print(dumped([clause._asdict() for clause in clauses]))
    else:
        from edgetwin.tables import clause_table

        console().print(clause_table(f"{chosen.name} on {chosen.scenario.name}" if policy is None else policy, clauses))
    return 0 if all(clause.passed for clause in clauses) else 1


@app.command
def bench(*, json: Json = False) -> int:
    """Measure speed on this machine: environments, one beside readable NumPy, and training, cold and warm; and peak memory."""
    from edgetwin.bench import bench as run
    from edgetwin.tables import bench_table

    result = run(lambda name: print(f"measuring {name} …", file=sys.stderr))
    if json:
        print(dumped(result))
    else:
        for problem in result["problems"]:
            console().print(bench_table(problem))
            if "speedup_over_numpy" in problem:
                print(f"{problem['speedup_over_numpy']:.0f} × the readable NumPy environment, side by side (median of ratios)")
        print(f"peak memory {result['peak_memory_mb']:,.0f} MB; JAX {result['jax']}")
    return 0
