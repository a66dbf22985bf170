"""How a host or the centre says no."""


class Full(Exception):
    """Nothing more is taken now: come back later."""


class Refused(Exception):
    """What was asked cannot be done, and why: `status` is that of HTTP."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
