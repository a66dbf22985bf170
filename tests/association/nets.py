"""Small association networks for tests, and a slot's numbers as a plain reader would take them."""

import jax
import numpy as np

import edgetwin as et


def make(task="placement", preset="association/n100-m10", users=7, sites=3, **settings):
    """A task on a small network; settings with two underscores for the dot: migration__slots=5."""
    sections = {"capacity": "association", "cpu_hz": "association", "delay_limits": "association"}
    named = {key.replace("__", ".") if "__" in key else f"{sections[key]}.{key}": value for key, value in settings.items()}
    return et.task(task, et.scenario(preset, {"users.count": users, "sites.count": sites, **named}))


def plain(tree):
    """NumPy leaves in float64 where they were floats; random keys as they are."""

    def leaf(value):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            return value
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    return jax.tree.map(leaf, tree)
