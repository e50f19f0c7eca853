"""A report in a real browser: nothing goes wrong, at any width."""

import os
import shutil

import pytest

from tests.report.pages import corrected, report

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = pytest.mark.browser
FOUND = "(images) => images.every((image) => image.complete && image.naturalWidth > 0)"


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    long = "compound_with_a_name_that_is_much_too_long_for_a_telephone" * 2
    out = corrected(folder, Metadata_treatment=[long, "b"] * 200)
    report(out, "--label-key", "Metadata_treatment")
    return out.with_suffix(".html")


@pytest.fixture(scope="module")
def browser():
    chromium = os.environ.get("BALANS_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.fail("no Chromium: set BALANS_CHROMIUM to its path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [360, 1200])
def test_a_report_shows_all_pictures_without_errors_or_scrolling_aside(browser, html, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    errors, requests = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(html.as_uri())
    card = page.locator(".card").bounding_box()
    # Without scrolling, on a wide window.
    assert width < 1200 or card["y"] + card["height"] <= 700
    page.locator("summary").evaluate_all("all => all.forEach((each) => each.click())")
    assert page.locator("img").evaluate_all(FOUND)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert errors == []
    assert all(url.startswith(("file:", "data:")) for url in requests)
