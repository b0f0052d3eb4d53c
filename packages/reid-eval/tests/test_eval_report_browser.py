"""The report in headless Chromium, opened from disk and watched over its debugging protocol."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from reid_eval import evaluate
from reid_eval.figures import cmc_figure
from reid_eval.report import Answer, RankedQuery, write_report
from reid_eval.report_tables import format_value

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is needed to drive Chromium")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 90

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not on PATH: install Debian's chromium"),
]

CELLS = (
    "[...document.querySelectorAll('#metrics td')].map(c => [c.dataset.metric, c.dataset.value, c.innerText])"
)
IMAGES = "[...document.images].map(image => image.naturalWidth)"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A function from an address and JavaScript to its value there, and the addresses the page asked for."""
    profile = tmp_path_factory.mktemp("chromium")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    browser = subprocess.Popen(
        [CHROMIUM, *flags, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    note = profile / "DevToolsActivePort"
    try:
        deadline = time.monotonic() + SECONDS
        while not (note.exists() and len(note.read_text().splitlines()) == 2):
            assert time.monotonic() < deadline, f"Chromium did not start within {SECONDS} s"
            time.sleep(0.1)
        port = note.read_text().splitlines()[0]
        yield lambda address, script: asyncio.run(asyncio.wait_for(_open(port, address, script), SECONDS))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(browser.pid, 9)
        browser.wait()


async def _open(port, address, script):
    pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS))
    page = next(target for target in pages if target["type"] == "page")
    async with aiohttp.ClientSession() as session, session.ws_connect(page["webSocketDebuggerUrl"]) as socket:
        number, events = 0, []

        async def until(done):
            while not done(message := await socket.receive_json()):
                events.append(message)
            return message

        async def call(method, **params):
            nonlocal number
            number += 1
            await socket.send_json({"id": number, "method": method, "params": params})
            return (await until(lambda message: message.get("id") == number))["result"]

        await call("Page.enable")
        await call("Network.enable")
        await call("Page.navigate", url=address)
        if not any(event.get("method") == "Page.loadEventFired" for event in events):
            await until(lambda message: message.get("method") == "Page.loadEventFired")
        answer = await call("Runtime.evaluate", expression=script, returnByValue=True)
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    return answer["result"]["value"], asked


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    rng = np.random.default_rng(0)
    pids, zero = rng.integers(1, 9, 40), np.zeros(40, int)
    result = evaluate(
        rng.normal(size=(40, 4)), rng.normal(size=(40, 4)), pids, pids, zero, zero + 1, far=(1e-2, 1e-1)
    )
    grey = np.full((64, 32, 3), 127, np.uint8)
    path = write_report(
        tmp_path_factory.mktemp("report") / "report.html",
        {"image": result},
        figures={"CMC": cmc_figure({"image": result})},
        lists={"Worst queries": [RankedQuery(grey, "person 1", [Answer(grey, True), Answer(grey, False)])]},
    )
    return path, result


def test_the_table_shows_the_result(opened, report):
    path, result = report
    cells, _ = opened(path.as_uri(), CELLS)
    assert cells == [[name, str(value), format_value(value)] for name, value in result.summary().items()]
    assert {name: whole for name, whole, _ in cells}["mAP"] == repr(result.mAP)


def test_every_picture_is_shown_and_nothing_is_loaded_but_the_page(opened, report):
    path, _ = report
    widths, asked = opened(path.as_uri(), IMAGES)
    assert len(widths) == 4 and all(widths)
    assert [address for address in asked if not address.startswith("data:")] == [path.as_uri()]


def test_a_page_that_loads_something_would_be_noticed(opened, tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<img src="other.png"><img src="http://127.0.0.1:9/far.png">')
    _, asked = opened(page.as_uri(), IMAGES)
    assert {(tmp_path / "other.png").as_uri(), "http://127.0.0.1:9/far.png"} <= set(asked)
