"""A saved forecaster forecasts the same; a file that is none, or was touched, is refused in one line."""

import numpy as np
import pytest
import safetensors.numpy

from edgetwin.errors import InputError
from edgetwin.forecasting import drift, files, gru, gru_printed, gru_shared, kalman, last_value, linear
from edgetwin.forecasting.forecaster import ahead
from edgetwin.learning import arrays
from forecasting.paths import random_walk

PATHS = random_walk(30, 8, seed=0).astype(np.float32)
FITTED = {kind.NAME: kind.fit(PATHS, 4, shared=False) for kind in (drift, last_value, linear, kalman)}
FITTED |= {kind.NAME: kind.fit(PATHS, 4, hidden=4, epochs=1) for kind in (gru, gru_shared, gru_printed)}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "folder" / "gru.safetensors"
    files.save(path, "gru", FITTED["gru"], {"paths": "walk"})
    return path


@pytest.mark.parametrize("name", files.KINDS)
def test_it_forecasts_the_same_after_loading(name, tmp_path):
    path = tmp_path / "forecaster.safetensors"
    files.save(path, name, FITTED[name], {"M": "4"})
    loaded = files.load(path)
    assert (loaded.name, loaded.metadata, list(tmp_path.iterdir())) == (name, {"M": "4"}, [path])
    before, after = (ahead(files.forecaster(name, of), PATHS[3, :4], 3) for of in (FITTED[name], loaded.parameters))
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_every_byte_counts(saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="is damaged or was not written by edgetwin"):
        files.load(saved)
    for position in (-1, -1000, whole.index(b"walk")):
        touched = bytearray(whole)
        touched[position] ^= 1
        saved.write_bytes(touched)
        with pytest.raises(InputError, match="damaged"):
            files.load(saved)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    with pytest.raises(InputError, match="cannot be read"):
        files.load(path)
    path.write_text("no tensors")
    with pytest.raises(InputError, match="was not written by edgetwin"):
        files.load(path)
    arrays.write(path, {"a": np.zeros(3)}, {"format": arrays.FORMAT, "algorithm": "sac"})
    with pytest.raises(InputError, match="holds no forecaster, but sac"):
        files.load(path)
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    with pytest.raises(InputError, match="was not written by edgetwin"):
        files.load(path)


def test_names_that_are_unknown_and_places_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="'kalmann': unknown .did you mean kalman"):
        files.forecaster("kalmann", FITTED["kalman"])
    with pytest.raises(InputError, match="unknown"):
        files.save(tmp_path / "x.safetensors", "gruu", FITTED["gru"])
    with pytest.raises(InputError, match="is a folder"):
        files.save(tmp_path, "gru", FITTED["gru"])
