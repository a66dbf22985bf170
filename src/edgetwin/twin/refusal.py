"""How a host or the centre says no, and how that reads in an answer."""

import json


class Full(Exception):
    """Nothing more is taken now: come back later."""


class Refused(Exception):
    """What was asked cannot be done, and why: `status` is that of HTTP."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def line_in(body: bytes | bytearray | None) -> str:
    """The line that an answer of edgetwin says no with, empty where it is none of edgetwin's."""
    try:
        return str(json.loads(body or b"")["error"])
    except (ValueError, KeyError, TypeError):
        return ""
