"""`scenario list`, `show` and `check`: networks as data."""

from cyclopts import App

from edgetwin.cli.shared import Json, Setting, app, console, dumped, scenario_with
from edgetwin.scenario import names, network
from edgetwin.scenario import scenario as load_scenario

scenario_app = App(name="scenario", help="List, show and check networks.")
app.command(scenario_app)


@scenario_app.command(name="list")
def list_scenarios(*, json: Json = False) -> int:
    """The built-in networks."""
    known = {name: load_scenario(name).summary for name in names()}
    if json:
        print(dumped(known))
    else:
        for name, summary in known.items():
            print(f"{name:<{max(map(len, known))}}  {summary}")
    return 0


@scenario_app.command
def show(name: str, *, set: Setting | None = None, json: Json = False) -> int:
    """Every value of a network, with its unit and its source.

    Parameters
    ----------
    name
        A built-in scenario or a .toml file.
    """
    from edgetwin.tables import scenario_table

    shown = scenario_with(name, set)
    if json:
        print(dumped(shown.model_dump(mode="json")))
    else:
        console().print(scenario_table(shown))
        for note in shown.notes:
            print(f"* {note}")
    return 0


@scenario_app.command(name="check")
def check_scenario(file: str, *, set: Setting | None = None, json: Json = False) -> int:
    """Read a network and the files it names, and say what was found.

    Parameters
    ----------
    file
        A .toml file or a built-in scenario.
    """
    checked = scenario_with(file, set)
    resolved = network(checked)
    tracks = 0 if resolved.tracks is None else len(resolved.tracks.ids)
    found = {
        "name": checked.name,
        "sites": len(resolved.site_ids),
        "servers": len(resolved.server_sites),
        "users": checked.users.count,
        "tracks": tracks,
    }
    if json:
        print(dumped(found))
    else:
        models = {
            "gauss-markov": "by the Gauss-Markov model",
            "random-walk": "on random walks",
            "persistent-walk": "on persistent walks",
        }
        moves = f"along {tracks} tracks" if tracks else models[checked.users.mobility]
        print(
            f"{checked.name}: {found['sites']} sites, {found['servers']} servers, {found['users']} users who move {moves}: all is well"
        )
    return 0
