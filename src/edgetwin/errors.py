"""What a user can put right: one clear line that names what was given, what is allowed, and what to do."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from outside: a scenario, a file, a name, a parameter. The command line prints it and exits with status 2."""


class DataUnavailable(InputError):
    """A data set is neither in `EDGETWIN_DATA`, nor in the cache, nor to be had from its origin."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)` where something known is close to `word`, else nothing."""
    close = difflib.get_close_matches(word[:64], list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""
