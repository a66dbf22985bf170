"""The radio channel between users and sites: path loss and Rician fading."""

import math

import jax.numpy as jnp


def distance(position_m, sites_m, distance_min_m):
    """Distance of every user to every site, at least `distance_min_m`. position_m: (users, 2), sites_m: (sites, 2) → (users, sites), m."""
    offset = position_m[:, None, :] - sites_m[None, :, :]
    return jnp.maximum(jnp.sqrt(jnp.sum(offset**2, axis=-1)), distance_min_m)


def mean_gain(distance_m, reference_gain, path_loss_exponent):
    """Power gain without fading, ρ0/d^φ; the mean of |h|² in two-timescale (5). Any shape.

    path_loss_exponent is a plain number: whole ones become products, which are several times faster than a general power.
    """
    exponent = int(path_loss_exponent) if float(path_loss_exponent).is_integer() else path_loss_exponent
    return reference_gain / distance_m**exponent


def rician_power(real, imaginary, rician_factor):
    """Fading power |√(κ/(κ+1)) + √(1/(κ+1))·ĥ|², ĥ ~ CN(0, 1); its mean is 1.     two-timescale (5)

    real, imaginary: same shape, standard normals, the parts of √2·ĥ. Returns that shape.
    """
    line_of_sight = math.sqrt(rician_factor / (rician_factor + 1))
    scatter = math.sqrt(0.5 / (rician_factor + 1))
    return (line_of_sight + scatter * real) ** 2 + (scatter * imaginary) ** 2
