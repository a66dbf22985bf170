"""What the pages on the live layer show works against a running service."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from twin.service import ServiceProcess

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", ["live.md", "devices.md"])
def test_curl_as_shown(page, tmp_path):
    shown = [text for text in re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S) if "curl" in text]
    with ServiceProcess(tmp_path / "twins") as service:
        for text in shown:
            commands = text.replace("curl ", "curl --silent --show-error --fail-with-body ").replace(
                "localhost:8700", service.url[7:]
            )
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "error" not in done.stdout and "quarantined" not in done.stdout
        assert service.get("/v1/twins/car-7")["revision"] == 1


def test_reasons_on_the_page_are_those_there_are():
    from edgetwin.twin.messages import REASONS

    table = (DOCS / "live.md").read_text(encoding="utf-8").partition("| reason | what is wrong |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", table)) == set(REASONS)


def test_the_message_on_the_page_is_whole():
    from edgetwin.twin.messages import parse

    page = (DOCS / "devices.md").read_text(encoding="utf-8")
    line = re.search(r"```\n(\{.*\})\n```", page)[1]
    assert parse(line.encode()).device == "car-7"
    assert json.loads(line)["crc32"]
