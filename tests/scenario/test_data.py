"""Data sets, fetched from a real server: what is pinned arrives, anything else is refused in one line and leaves nothing."""

import hashlib
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest

from edgetwin.errors import DataUnavailable
from edgetwin.scenario import data

CONTENT = b"SITE_ID,LATITUDE,LONGITUDE\n" + b"1,-37.8,144.9\n" * 5000
DATASET = data.Dataset(
    "place/sites.csv", "someone/somewhere", "0123abcd", "a/sites.csv", hashlib.sha256(CONTENT).hexdigest(), "MIT", "Someone, 2020"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGETWIN_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    return tmp_path / "edgetwin"


@pytest.fixture
def origin(monkeypatch):
    """A server that sends CONTENT, or misbehaves as `origin.manner` says; `origin.asked` lists the paths asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            manner = self.server.manner
            if manner == "hang":
                self.server.closing.wait(30)
                return
            if manner == "missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            if manner == "cut":
                self.wfile.write(CONTENT[: len(CONTENT) // 2])
            elif manner == "stall":
                self.wfile.write(CONTENT[: len(CONTENT) // 2])
                self.wfile.flush()
                self.server.closing.wait(30)
            else:
                self.wfile.write(CONTENT if manner == "good" else CONTENT[::-1])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.manner, server.asked, server.closing = "good", [], threading.Event()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(data, "ORIGIN", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


def refusal(dataset=DATASET):
    with pytest.raises(DataUnavailable) as caught:
        data.path_of(dataset)
    message = str(caught.value)
    assert "\n" not in message and dataset.file in message and "EDGETWIN_DATA" in message
    return message


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_data_set_is_fetched_once_from_its_commit(cache, origin, capfd):
    path = data.path_of(DATASET)
    assert path == cache / "place" / "sites.csv" and path.read_bytes() == CONTENT
    assert data.path_of(DATASET) == path
    assert origin.asked == ["/someone/somewhere/0123abcd/a/sites.csv"]
    assert files_below(cache) == [path]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("wrong", "not the pinned file"),
        ("cut", "cut"),
        ("missing", "404"),
        ("hang", "no answer in time"),
        ("stall", "cannot be reached"),
    ],
)
def test_a_failed_fetch_says_why_and_leaves_nothing(cache, origin, monkeypatch, manner, words):
    monkeypatch.setattr(data, "READ_TIMEOUT_S", 0.2)
    origin.manner = manner
    message = refusal()
    assert words in message and data.ORIGIN in message
    assert files_below(cache) == []
    origin.manner = "good"
    assert data.path_of(DATASET).read_bytes() == CONTENT


def test_without_network_it_fails_at_once(cache, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(data, "ORIGIN", f"http://127.0.0.1:{closed.getsockname()[1]}")
        started_s = time.monotonic()
        assert "cannot be reached" in refusal()
        assert time.monotonic() - started_s < 3
    assert files_below(cache) == []


def test_a_damaged_cache_is_noticed_and_mended(cache, origin):
    path = data.path_of(DATASET)
    path.write_bytes(CONTENT[:100])
    assert data.path_of(DATASET).read_bytes() == CONTENT
    path.write_bytes(CONTENT[:100])
    origin.manner = "missing"
    assert "404" in refusal()


def test_a_cache_that_cannot_be_written_is_named(cache, origin):
    cache.write_text("a file where the folder should be")
    assert f"the cache {cache} cannot be used" in refusal()


def test_edgetwin_data_comes_first_and_is_checked(cache, origin, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    monkeypatch.setenv("EDGETWIN_DATA", str(folder))
    assert f"EDGETWIN_DATA = {folder}: cannot read" in refusal()
    (folder / "place").mkdir(parents=True)
    (folder / "place" / "sites.csv").write_bytes(CONTENT)
    assert data.path_of(DATASET) == folder / "place" / "sites.csv"
    (folder / "place" / "sites.csv").write_bytes(CONTENT + b"\n")
    assert "not the pinned file" in refusal()
    assert origin.asked == []


@pytest.mark.skipif(not os.environ.get("EDGETWIN_DATA"), reason="EDGETWIN_DATA is not set")
@pytest.mark.parametrize("dataset", [data.OPTUS_SITES, data.GOAL_TRACKS], ids=lambda dataset: dataset.file)
def test_the_real_files_are_the_pinned_ones(dataset):
    assert data.path_of(dataset).is_file()
    assert dataset.licence and dataset.citation
