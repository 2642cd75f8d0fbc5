"""The dashboard in a real browser: headless Chromium on the real command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sample_screen

from stores.screen_store import open_store

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"
)

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    # WebGL by the processor, since there is no graphics card
    "--enable-unsafe-swiftshader",
)  # fmt: skip

PATIENCE_S = 180
"""For a machine that does other things at the same time."""

DRAWN = (
    "const figures = [...document.querySelectorAll('[data-figure]')];"
    "return figures.length > 0 && figures.every((figure) => figure.dataset.drawn)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(PATIENCE_S)
    driver.set_window_size(1360, 900)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(autouse=True)
def _no_complaint(browser: WebDriver) -> Iterator[None]:
    """No script failed, nothing was refused, nothing was asked of another machine, no text ran."""
    yield
    messages = [entry["message"] for entry in browser.get_log("browser")]
    complaints = [one for one in messages if "Content Security Policy" in one or "Error" in one]
    assert not complaints
    assert browser.execute_script("return window.hacked") is None
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    origin = browser.execute_script("return location.origin")
    assert [one for one in asked if not one.startswith((origin, "data:", "blob:"))] == []


def serve(store: Path) -> Iterator[str]:
    """Run the command, and yield the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "launch", "dashboard", "--store", str(store), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "http://127.0.0.1:" in line, line
        yield line.split()[3].rstrip("/")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("screen") / "screen"
    with open_store(str(folder)) as store:
        sample_screen.write(store)
    yield from serve(folder)


@pytest.fixture
def go(browser: WebDriver, base: str) -> Callable[..., None]:
    def open_page(path: str, **query: str) -> None:
        browser.get(f"{base}{path}" + (f"?{urlencode(query)}" if query else ""))

    return open_page


def wait(browser: WebDriver, condition: Callable[[WebDriver], Any]) -> Any:
    # The page may be replaced while the condition looks at it.
    patient = WebDriverWait(
        browser, PATIENCE_S, ignored_exceptions=[StaleElementReferenceException]
    )
    return patient.until(condition)


def drawn(browser: WebDriver) -> None:
    wait(browser, lambda b: b.execute_script(DRAWN))


def materials(browser: WebDriver) -> list[str]:
    rows = browser.find_elements(By.CSS_SELECTOR, "table.ranking tbody .formula")
    return [row.text.replace("\n", "") for row in rows]


def test_filters_and_order_go_into_the_link(browser, go):
    go("/")
    assert materials(browser) == ["Li2O", "Li2S", "Li2Se", sample_screen.SCRIPT]
    field = browser.find_element(By.NAME, "max_barrier")
    field.send_keys("0.5", Keys.ENTER)
    wait(browser, lambda b: materials(b) == ["Li2O", "Li2S"])
    assert browser.current_url.endswith("/?max_barrier=0.5")
    browser.find_element(By.PARTIAL_LINK_TEXT, "Gap").click()
    wait(browser, lambda b: materials(b) == ["Li2S", "Li2O"])
    assert browser.current_url.endswith("/?max_barrier=0.5&sort=gap")
    header = browser.find_element(By.CSS_SELECTOR, "th[aria-sort]")
    assert header.get_attribute("aria-sort") == "ascending"
    # The way back from a material keeps both.
    browser.find_element(By.LINK_TEXT, "Li2S").click()
    wait(browser, lambda b: "/material" in b.current_url)
    browser.find_element(By.LINK_TEXT, "← Ranking").click()
    wait(browser, lambda b: b.current_url.endswith("/?max_barrier=0.5&sort=gap"))
    assert browser.find_element(By.NAME, "max_barrier").get_attribute("value") == "0.5"


def test_a_material_is_drawn(browser, go):
    go("/material", id="A:Li")
    drawn(browser)
    lines = browser.find_elements(By.CSS_SELECTOR, "#profile .scatterlayer .trace")
    assert len(lines) == 4  # a dashed line and its point, two profiles
    traces = browser.execute_script(
        "return document.getElementById('scene').data.map((t) => [t.type, String(t.meta)])"
    )
    assert traces == [
        ["mesh3d", "ion"], ["mesh3d", "host"], ["mesh3d", "hop0A"], ["scatter3d", "cell"],
    ]  # fmt: skip
    # Something else than background has been painted.
    colours = browser.execute_async_script(
        "const done = arguments[0];"
        "Plotly.toImage('scene', {format: 'png', width: 200, height: 200}).then((url) => {"
        "  const image = new Image();"
        "  image.onload = () => {"
        "    const canvas = document.createElement('canvas');"
        "    canvas.width = canvas.height = 200;"
        "    const context = canvas.getContext('2d');"
        "    context.drawImage(image, 0, 0);"
        "    const seen = new Set();"
        "    const data = context.getImageData(0, 0, 200, 200).data;"
        "    for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 3).join());"
        "    done(seen.size);"
        "  };"
        "  image.src = url;"
        "});"
    )
    assert colours > 50
    browser.find_element(By.CSS_SELECTOR, "[data-host]").click()
    wait(
        browser,
        lambda b: b.execute_script(
            "return document.getElementById('scene').data[1].visible === 'legendonly'"
        ),
    )


def test_another_hop_is_chosen(browser, go):
    go("/material", id="A:Li")
    choice = Select(browser.find_element(By.NAME, "hop"))
    assert [option.get_attribute("value") for option in choice.options] == ["hop0A"]
    assert "limits 1D, 2D, 3D" in choice.first_selected_option.text


def test_hostile_text_does_nothing(browser, go):
    identity = f"{sample_screen.HOSTILE_ID}:Li"
    go("/")
    link = browser.find_element(By.LINK_TEXT, sample_screen.SCRIPT)
    link.click()
    wait(browser, lambda b: "/material" in b.current_url)
    drawn(browser)
    assert identity in browser.find_element(By.TAG_NAME, "h1").text
    legend = browser.find_element(By.CSS_SELECTOR, "#profile .legend").text
    assert sample_screen.IMAGE in legend
    assert not browser.find_elements(By.CSS_SELECTOR, "#profile a[*|href^='javascript']")
    for path in ("/funnel", "/jobs?stage=dft", "/parity?levels=band-mlip"):
        go(path)
        assert browser.execute_script("return window.hacked") is None


def test_a_point_of_the_parity_plot_opens_its_material(browser, go):
    go("/parity", levels="band-mlip")
    drawn(browser)
    browser.execute_script(
        "const figure = document.getElementById('parity');"
        "const points = figure.data[1], n = points.x.indexOf(0.25);"
        "figure.emit('plotly_click', {points: [{customdata: points.customdata[n]}]});"
    )
    wait(browser, lambda b: b.current_url.endswith("/material?id=A%3ALi&hop=hop0A"))


def test_the_keyboard_is_enough(browser, go):
    go("/")
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    wait(browser, lambda b: b.switch_to.active_element.text == "Skip to the content")
    body.send_keys("/")
    wait(browser, lambda b: b.switch_to.active_element.get_attribute("name") == "q")
    browser.switch_to.active_element.send_keys("Li2S", Keys.ENTER)
    wait(browser, lambda b: materials(b) == ["Li2S", "Li2Se"])
    # The keys that follow must not go to a page that is still being laid out.
    wait(browser, lambda b: b.execute_script("return document.readyState") == "complete")
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.text.replace("\n", "") == "Li2S":
            break
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait(browser, lambda b: "/material?id=B" in b.current_url)


@pytest.mark.parametrize("path", ["/", "/material?id=A:Li", "/funnel", "/parity", "/jobs"])
def test_a_phone_shows_it_without_scrolling_sideways(browser, go, path):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        go(path)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_and_light(browser, go):
    go("/")

    def background() -> str:
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = background()
    browser.find_element(By.CSS_SELECTOR, "[data-theme-button]").click()
    dark = background()
    assert dark != light
    go("/material", id="A:Li")
    assert background() == dark
    drawn(browser)
    browser.find_element(By.CSS_SELECTOR, "[data-theme-button]").click()
    assert background() == light


def test_the_system_may_wish_for_dark(browser, go):
    go("/")
    browser.execute_script("localStorage.clear()")
    seen = set()
    for wish in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": wish}]},
        )
        go("/")
        seen.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(seen) == 2


def test_a_failed_calculation_and_an_empty_store(browser, go, tmp_path):
    go("/material", id="C:Li")
    drawn(browser)
    assert "failed: NotConverged" in browser.find_element(By.TAG_NAME, "main").text
    open_store(str(tmp_path / "empty")).close()
    for address in serve(tmp_path / "empty"):
        for path, words in {
            "/": "No material is ranked yet",
            "/funnel": "No candidate yet",
            "/parity": "No hop has both estimates yet",
            "/jobs": "Nothing has failed",
        }.items():
            browser.get(address + path)
            assert words in browser.find_element(By.TAG_NAME, "main").text
