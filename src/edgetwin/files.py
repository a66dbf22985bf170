"""Files that people ask for are written whole or not at all, a place that cannot be written to is refused before the work, and arrays are read."""

import os
import secrets
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from edgetwin.errors import InputError


def check_writable(path: Path) -> None:
    """Raises InputError where a file could not be written to `path`; leaves nothing behind. Missing folders are no obstacle."""
    _replaceable(path)
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Bytes that stand at `path` as a whole, or not at all."""
    with replacing(path) as file:
        file.buffer.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[TextIOWrapper]:
    """A file that stands at `path` once it is whole. On failure neither it nor a folder made for it is left."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp") if path.name else path
    made: list[Path] = []
    try:
        _replaceable(path)
        made = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            yield file
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError, ValueError):
            temporary.unlink()
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
        raise


def _replaceable(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path}: is a folder: name a file in it, such as {path / 'report.html'}")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is not a file that can be replaced")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in an .npz file, by name. Raises InputError for a file that is none."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files}
    except OSError as error:
        raise InputError(f"{path}: cannot be read as an .npz archive ({error.strerror or error})") from None
    except (ValueError, TypeError, AttributeError, BadZipFile, zlib.error):
        raise InputError(f"{path}: cannot be read as an .npz archive (it is another kind of file, or damaged)") from None
