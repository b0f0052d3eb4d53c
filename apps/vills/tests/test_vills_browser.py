"""What the MLflow UI shows after a run: headless Chromium, driven by its own debugging protocol."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import mlflow
import pytest

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is needed to drive Chromium")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 90

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not on PATH: install Debian's chromium"),
]


def until(condition, what):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come within {SECONDS} s")


@contextlib.contextmanager
def process(command, **options):
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **options
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, 9)
        running.wait()


@pytest.fixture(scope="module")
def ui(tiny):
    """Address of an MLflow UI over the tiny run's store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--app-name", "reid"]  # as `make ui`
    command += ["--backend-store-uri", tiny.store, "--workers", "1"]
    address = f"http://127.0.0.1:{port}"
    with process([*command, "--host", "127.0.0.1", "--port", str(port)]):
        until(lambda: urllib.request.urlopen(f"{address}/health", timeout=2).status == 200, "MLflow's UI")
        yield address


@pytest.fixture(scope="module")
def sees(tmp_path_factory):
    """A function (address, JavaScript condition) that opens a page and waits until the condition holds."""
    profile = tmp_path_factory.mktemp("chromium")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--window-size=1600,1200", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    with process([CHROMIUM, *flags, "about:blank"]):
        note = profile / "DevToolsActivePort"
        until(lambda: note.exists() and len(note.read_text().splitlines()) == 2, "Chromium")
        port = note.read_text().splitlines()[0]
        yield lambda address, condition: asyncio.run(
            asyncio.wait_for(_sees(port, address, condition), 2 * SECONDS)  # Chromium itself may hang
        )


async def _sees(port, address, condition):
    pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS))
    page = next(target for target in pages if target["type"] == "page")
    async with aiohttp.ClientSession() as session, session.ws_connect(page["webSocketDebuggerUrl"]) as socket:
        number = 0

        async def call(method, **params):
            nonlocal number
            number += 1
            await socket.send_json({"id": number, "method": method, "params": params})
            while (answer := await socket.receive_json()).get("id") != number:
                pass
            return answer["result"]

        await call("Page.navigate", url="about:blank")
        await call("Page.navigate", url=address)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            answer = await call("Runtime.evaluate", expression=f"Boolean({condition})", returnByValue=True)
            if answer["result"].get("value"):
                return True
            await asyncio.sleep(0.3)
    return False


@pytest.fixture(scope="module")
def runs(tiny):
    client = mlflow.MlflowClient(tracking_uri=tiny.store)
    experiment = client.get_experiment_by_name("vills_tiny").experiment_id
    found = [run for run in client.search_runs([experiment]) if "superseded" not in run.data.tags]
    parent = next(run for run in found if run.info.run_name == "a")
    nested = {
        run.info.run_name: run.info.run_id
        for run in found
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    return f"#/experiments/{experiment}/runs", parent.info.run_id, nested


def test_the_first_page_is_of_trainings_and_asks_nothing(ui, sees):
    text = "document.body.innerText"
    listed, other = f"{text}.includes('vills_tiny')", f"/telemetry|Traces/i.test({text})"
    assert sees(ui, f"{listed} && !{other}")


def test_from_the_first_page_two_clicks_lead_to_a_chart(ui, sees):
    experiment = "[...document.querySelectorAll('a')].find(link => link.innerText == 'vills_tiny')"
    charts = "document.querySelector('input[name=runs-view-mode][value=CHART]')"
    drawn = "document.querySelectorAll('.js-plotly-plot').length > 0"
    assert sees(ui, f"{drawn} || ({charts} || {experiment})?.click()")


def test_the_experiment_lists_the_parent_run(ui, sees, runs):
    place, parent, _ = runs
    assert sees(f"{ui}/{place}", f"document.querySelector('a[href*=\"{parent}\"]')")


def test_the_parent_run_leads_to_its_nested_runs(ui, sees, runs):
    place, parent, nested = runs
    links = " && ".join(f"document.querySelector('a[href*=\"{run}\"]')" for run in nested.values())
    assert sees(f"{ui}/{place}/{parent}", links)


def test_pretraining_shows_loss_curves(ui, sees, runs):
    place, _, nested = runs
    drawn = "document.querySelectorAll('.js-plotly-plot .scatterlayer path.js-line').length > 0"
    named = "document.body.innerText.includes('alignment') && document.body.innerText.includes('loss')"
    assert sees(f"{ui}/{place}/{nested['pretrain']}/model-metrics", f"{drawn} && {named}")


@pytest.mark.parametrize("picture", ["cmc", "ranked_image_to_video", "attention_image", "attention_clip"])
def test_evaluation_shows_its_pictures(ui, sees, runs, picture):
    place, parent, _ = runs
    images = f"[...document.querySelectorAll('img[alt=\"figures/{picture}.png\"]')]"
    shown = f"{images}.some(image => image.naturalWidth > 100)"
    assert sees(f"{ui}/{place}/{parent}/artifacts/figures/{picture}.png", shown)
