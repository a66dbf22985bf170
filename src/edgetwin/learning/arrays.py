"""Pytrees of arrays on disk: one safetensors file with every leaf by its name, words about them, and a checksum over all."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from safetensors import SafetensorError
from safetensors.numpy import load, save

from edgetwin.errors import InputError
from edgetwin.files import write_bytes

FORMAT = 1
CHECKSUM, KEYS, WORDS = "sha256", "random_keys", "about"


def write(path: Path, tree: Any, about: dict[str, Any]) -> None:
    """Writes all leaves of a pytree (numbers, truth values, random keys) with plain data `about` them, whole or not at all."""
    named = {keystr(place): leaf for place, leaf in tree_flatten_with_path(tree)[0]}
    keys = {name: str(jax.random.key_impl(leaf)) for name, leaf in named.items() if _is_key(leaf)}
    arrays = {name: np.array(jax.random.key_data(leaf) if name in keys else leaf, order="C") for name, leaf in named.items()}
    words = {WORDS: json.dumps(about, sort_keys=True, allow_nan=False), KEYS: json.dumps(keys, sort_keys=True)}
    write_bytes(path, save(arrays, {**words, CHECKSUM: _checksum(arrays, words)}))


def read(path: Path) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """The leaves by name, and what was said about them. Raises InputError for a file that is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        words = _words(content)
        arrays = load(content)
        if words.pop(CHECKSUM) != _checksum(arrays, words):
            raise ValueError("its checksum is wrong")
        about, keys = json.loads(words[WORDS]), json.loads(words[KEYS])
    except (SafetensorError, ValueError, KeyError, struct.error, TypeError, AttributeError):
        raise InputError(f"{path}: is damaged or was not written by edgetwin; take another copy, or make it anew") from None
    if about.get("format") != FORMAT:
        raise InputError(
            f"{path}: has format {about.get('format')}, but this edgetwin reads format {FORMAT}: use the one that wrote it"
        )
    return {
        name: jax.random.wrap_key_data(jnp.asarray(leaf), impl=keys[name]) if name in keys else jnp.asarray(leaf)
        for name, leaf in arrays.items()
    }, about


def restore(like: Any, arrays: dict[str, jax.Array]) -> Any:
    """The pytree with the structure of `like` (arrays, or their shapes) and the leaves read. Raises ValueError where they do not fit."""
    places, structure = tree_flatten_with_path(like)
    named = {keystr(place): leaf for place, leaf in places}
    for name in sorted(set(named) ^ set(arrays)):
        raise ValueError(f"{name} is {'missing' if name in named else 'one too many'}")
    for name, leaf in named.items():
        found = arrays[name]
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise ValueError(f"{name} is {found.dtype}{list(found.shape)}, needed is {leaf.dtype}{list(leaf.shape)}")
    return jax.tree.unflatten(structure, [arrays[name] for name in named])


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _words(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: its first eight bytes are the length of a JSON header."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])["__metadata__"]


def _checksum(arrays: dict[str, np.ndarray], words: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
