"""A running service asked from the command line."""

import json
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib import error, request

from edgetwin.errors import InputError
from edgetwin.twin.refusal import line_in

TIMEOUT_S = 30


def ask(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    token: str | None = None,
    allowed: Sequence[int] = (),
    timeout_s: float = TIMEOUT_S,
) -> Any:
    """The service's answer as plain data. Raises InputError with what it says where it refuses with none of the `allowed` statuses, or where nobody
    answers."""
    if not url.startswith(("http://", "https://")):
        raise InputError(f"url {url!r}: http://HOST:PORT or https://HOST:PORT of the service")
    headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    content = None if body is None else json.dumps(body).encode()
    try:
        asked = request.Request(url.rstrip("/") + path, content, headers, method=method)
        with request.urlopen(asked, timeout=timeout_s) as answer:
            return json.loads(answer.read() or b"null")
    except error.HTTPError as refused:
        with refused:
            said = refused.read()
            if refused.code in allowed and not line_in(said):
                return json.loads(said)
            raise InputError(line_in(said) or f"{url}: {refused}") from None
    except TimeoutError:
        raise InputError(f"{url}: no answer within {timeout_s:g} s; what was asked for may still be done") from None
    except (OSError, ValueError, HTTPException) as wrong:
        raise InputError(
            f"{url}: no service answers there ({getattr(wrong, 'reason', None) or wrong or type(wrong).__name__})"
        ) from None
