"""MLflow's pages as `make ui` serves them: a person finds a chart."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from reid_core.tracking import Tracker
from reid_core.tracking.links import describe_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 240
MLFLOW = Path(sys.executable).with_name("mlflow")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--remote-debugging-port=0", "--window-size=1400,900"),
)
CLICKS = {
    "the experiment": "[...document.querySelectorAll('a')].find(a => a.innerText == 'some_people')",
    "the button of charts": "document.querySelector('input[name=runs-view-mode][value=CHART]')",
}
CHARTS = "document.querySelectorAll('.js-plotly-plot').length"
TEXT = "document.body.innerText"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run folder and the database that it was tracked to."""
    folder = tmp_path_factory.mktemp("ui")
    uri = f"sqlite:///{folder}/mlflow.db"
    with Tracker.start("some_people", "first", folder / "run", tracking_uri=uri) as run:
        for step in range(3):
            run.metrics({"loss": 1.0 / (step + 1)}, step=step)
    return folder / "run", uri


def test_a_tracked_run_has_a_page_that_opens_on_trainings(tracked):
    folder, uri = tracked
    page = describe_page(folder, uri)
    assert page.startswith(
        f"mlflow ui --app-name reid --backend-store-uri {uri}, then http://127.0.0.1:5000/#/"
    )
    assert page.endswith("/runs?workflowType=machine_learning")
    assert describe_page(folder, "http://user:secret@elsewhere") == ""


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not on PATH: install Debian's chromium")
def test_from_the_first_page_two_clicks_lead_to_a_chart(tracked, tmp_path):
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is needed to drive Chromium")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [MLFLOW, "ui", "--app-name", "reid", "--workers", "1", "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen([*command, "--backend-store-uri", tracked[1]], env=environment, **quiet)
    browser = subprocess.Popen([CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", "about:blank"], **quiet)
    try:
        address = f"http://127.0.0.1:{port}/"
        until(lambda: urllib.request.urlopen(address, timeout=5).status == 200)
        note = tmp_path / "DevToolsActivePort"
        until(lambda: len(note.read_text().splitlines()) == 2)
        seen = follow(aiohttp, note.read_text().splitlines()[0], address)
    finally:
        for process in (browser, server):
            os.killpg(process.pid, 9)
            process.wait()
    assert "telemetry" not in seen["the experiment"].lower() and "Traces" not in seen["the experiment"]
    assert seen["charts"] > 0


def until(done):
    """Try until it is true; errors on the way are taken for not yet."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if found := done():
                return found
        except (OSError, AttributeError):
            pass
        assert time.monotonic() < deadline, f"not within {SECONDS} s"
        time.sleep(0.2)


def follow(aiohttp, port, address):
    """The text seen before each click, and the number of charts after the last."""
    import asyncio

    async def steps():
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS))
        page = next(target for target in pages if target["type"] == "page")["webSocketDebuggerUrl"]
        async with aiohttp.ClientSession() as session, session.ws_connect(page, max_msg_size=0) as ws:
            number = 0

            async def call(method, **params):
                nonlocal number
                number += 1
                await ws.send_json({"id": number, "method": method, "params": params})
                while (answer := await ws.receive_json()).get("id") != number:
                    pass
                return answer["result"]

            async def value(script):
                answer = await call("Runtime.evaluate", expression=script, returnByValue=True)
                return answer["result"].get("value")

            async def wait_for(script):
                deadline = time.monotonic() + SECONDS
                while not (found := await value(script)):
                    assert time.monotonic() < deadline, f"{script} did not come"
                    await asyncio.sleep(0.2)
                return found

            seen = {}
            await call("Page.navigate", url=address)
            for name, element in CLICKS.items():
                await wait_for(f"!!({element})")
                seen[name] = await value(TEXT)
                await value(f"({element}).click()")
            return {**seen, "charts": await wait_for(CHARTS)}

    return asyncio.run(steps())
