"""`store check`, `backup`, `restore` and `upgrade`: what twins are kept in, looked after."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cyclopts import App

from edgetwin.cli.shared import Json, app, dumped
from edgetwin.errors import InputError

store_app = App(name="store", help="Check, back up, restore and upgrade what twins are kept in.")
app.command(store_app)


@store_app.command
def check(store: str, *, host: str | None = None, json: Json = False) -> int:
    """Read all of a store, served or not, and see that each twin's log leads to its state.

    Parameters
    ----------
    store
        A store's file, or postgresql://USER@HOST:PORT/DATABASE with the password in PGPASSWORD.
    host
        The host whose twins these are, where the store is in PostgreSQL.
    """
    from edgetwin.twin.stores import backup as stores

    with _one_line():
        found = stores.check(store, host)
    return _show(found, "Whole", json)


@store_app.command
def backup(store: str, target: Path, *, host: str | None = None, json: Json = False) -> int:
    """Copy a store as it is now, served or not, into one file, and check it.

    Parameters
    ----------
    store
        A store's file, or postgresql://USER@HOST:PORT/DATABASE with the password in PGPASSWORD.
    target
        A new file.
    host
        The host whose twins these are, where the store is in PostgreSQL.
    """
    from edgetwin.twin.stores import backup as stores

    with _one_line():
        found = stores.backup(store, target, host)
    return _show(found, f"Backup {target}", json)


@store_app.command
def restore(source: Path, store: str, *, host: str | None = None, json: Json = False) -> int:
    """Put a backup into a place where there is no store yet, of either kind. In PostgreSQL, twins erased since do not come back. Who has a
    twin that moved since is up to the control centre's directory.

    Parameters
    ----------
    source
        A file that `edgetwin store backup` made.
    store
        A new file, or postgresql://USER@HOST:PORT/DATABASE with the password in PGPASSWORD.
    host
        The host whose twins these will be, where the store is in PostgreSQL.
    """
    from edgetwin.twin.stores import backup as stores

    with _one_line():
        found = stores.restore(source, store, host)
    return _show(found, "Restored", json)


@store_app.command
def upgrade(store: str, *, json: Json = False) -> int:
    """Bring a store of an older version to this one's. A host that starts does so by itself.

    Parameters
    ----------
    store
        A store's file, which nobody may be serving, or postgresql://USER@HOST:PORT/DATABASE with the password in PGPASSWORD.
    """
    from edgetwin.twin.stores import backup as stores

    with _one_line():
        before, now = stores.upgrade(store)
    if json:
        print(dumped({"before": before, "now": now}))
    else:
        print(f"Version {now} already" if before == now else f"Upgraded from version {before} to {now}")
    return 0


@contextmanager
def _one_line() -> Iterator[None]:
    from edgetwin.twin.stores.store import StoreUnavailable

    try:
        yield
    except StoreUnavailable as error:
        raise InputError(str(error)) from None


def _show(found: Any, what: str, json: bool) -> int:
    if json:
        print(dumped(found._asdict()))
    else:
        moving = f", {found.leaving} leaving, {found.arriving} arriving" if found.leaving or found.arriving else ""
        print(
            f"{what}: {found.twins} twins, {found.entries} entries, {found.quarantined} in quarantine, {found.erased} erased{moving}"
        )
    return 0
