"""The token that a service asks for, and that devices show, in a file of its own."""

from pathlib import Path

from edgetwin.errors import InputError


def token_in(path: Path) -> str:
    """The token in a file. Raises InputError where there is none of at least 16 characters."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a token ({error})") from None
    if len(token) < 16 or any(character.isspace() for character in token):
        raise InputError(f"{path}: a token is one word of at least 16 characters")
    return token
