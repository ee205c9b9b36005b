"""The pages as a person opens them: in Chromium, from the disk, in both colour schemes and on a phone."""

import json
import re
import shutil

import image_folder
import numpy as np
import pytest
from small_runs import small

from repository import ROOT

from reports.run_page import write_at_end
from reports.run_page.comparison import write_comparison
from reports.run_page.page import write_page
from training import loop

pytestmark = pytest.mark.browser

HOSTILE = ("<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", '"quoted" & <b>bold</b>')
FILE = 'a"b&<i>.jpg'
SECTIONS = {"verdict", "curves", "alignments", "labels", "classes", "provenance"}


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="the group browser is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on the path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def arrays_run(tmp_path_factory):
    """A run with several rules on grey images, whose classes have hostile names and a fifth of wrong labels."""
    folder = tmp_path_factory.mktemp("arrays")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    images = (60 * labels[:, None, None] + rng.integers(0, 90, (400, 8, 8))).astype(np.uint8)
    np.savez(
        folder / "data.npz",
        **{"images": images[:300], "labels": labels[:300], "class_names": np.array(HOSTILE)},
        **{"test_images": images[300:], "test_labels": labels[300:]},
    )
    options = {
        "dataset.name": "arrays",
        "dataset.path": str(folder / "data.npz"),
        "dataset.train_examples": 0,
        "dataset.label_noise.rate": 0.2,
        "dataset.val_fraction": 0.1,
        "optimizer.ema": 1.0,
        "stopping.rules": ("max_gwa", "best_validation", "churn_per_misfit", "last", "oracle"),
    }
    loop.train(small(epochs=6, **options), folder / "run", at_end=write_at_end)
    return folder / "run"


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory):
    """A streamed run of one epoch without test data, with a hostile file name and an image that cannot be decoded."""
    folder = tmp_path_factory.mktemp("folder")
    images = image_folder.write(folder / "images", splits=("train",), per_class=12) / "train" / image_folder.CLASSES[0]
    (images / "0.jpg").rename(images / FILE)
    (images / "1.jpg").write_bytes(b"no image")
    options = {
        "dataset.name": "folder",
        "dataset.path": str(folder / "images"),
        "dataset.feed": "stream",
        "dataset.image_size": 16,
        "dataset.train_examples": 0,
        "dataset.label_noise.kind": "none",
        "dataset.label_noise.rate": 0.0,
        "dataset.stream.damaged": "skip",
        "batch_size": 16,
    }
    loop.train(small(epochs=1, **options), folder / "run", at_end=write_at_end)
    return folder / "run"


@pytest.fixture(scope="module")
def pages(arrays_run, folder_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    old_run = ROOT / "tests" / "support" / "old_run"
    return {
        "arrays": arrays_run / "report.html",
        "folder": folder_run / "report.html",
        "records alone": write_page(ROOT / "results" / "digits", folder / "records.html"),
        "old": write_page(old_run, folder / "old.html"),
        "comparison": write_comparison([arrays_run, folder_run, old_run], folder / "comparison.html"),
    }


NAMES = ("arrays", "folder", "records alone", "old", "comparison")


@pytest.fixture
def open_page(browser, pages):
    """Opens a page and returns it; at the end it must have asked for nothing and complained of nothing."""
    contexts, complaints, requests = [], [], []

    def open_in(name, width=1100, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        address = pages[name].as_uri()
        page.on("request", lambda request: requests.append(request.url) if request.url != address else None)
        page.goto(address)
        page.wait_for_selector("html[data-drawn]")
        return page

    yield open_in
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(name, scheme=scheme)
    for details in page.query_selector_all("details"):
        details.evaluate("each => each.open = true")
    results = axe.run(page)
    assert results.violations_count == 0, results.generate_report()
    assert "color-contrast" in {rule["id"] for rule in results.response["passes"]}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_scrolls_sideways_on_a_phone(open_page, name):
    page = open_page(name, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("name", NAMES)
def test_every_chart_is_drawn(open_page, name):
    page = open_page(name)
    charts = json.loads(page.text_content("#charts"))
    assert charts
    for chart in charts:
        assert page.query_selector(f"#{chart} svg .mark-line path, #{chart} svg .mark-symbol path"), chart


@pytest.mark.parametrize("name", ["arrays", "folder", "records alone", "old"])
def test_every_section_is_there(open_page, name):
    page = open_page(name)
    assert {each.get_attribute("id") for each in page.query_selector_all("section")} == SECTIONS
    for link in page.query_selector_all("nav a"):
        assert page.query_selector(link.get_attribute("href"))


@pytest.mark.parametrize("name", ["arrays", "folder"])
def test_the_chosen_epochs_are_those_of_the_summary(open_page, pages, name):
    summary = json.loads((pages[name].parent / "summary.json").read_text())
    page = open_page(name)
    rows = page.eval_on_selector_all(
        "[aria-label='Choices of the rules'] tbody tr",
        "rows => rows.map(row => [row.cells[0].textContent, row.cells[1].textContent])",
    )
    assert dict(rows) == {rule: str(choice["epoch"] or "none") for rule, choice in summary["rules"].items()}
    sentence = page.text_content("#verdict .choice")
    assert re.search(rf"epoch {summary['rules'][summary['chosen_by']]['epoch']}\b", sentence)


def test_hostile_names_are_text(open_page):
    page = open_page("arrays")
    given = page.eval_on_selector_all("#classes tbody tr", "rows => rows.map(row => row.cells[0].textContent)")
    assert sorted(given) == sorted(HOSTILE)
    assert {*page.eval_on_selector_all("#filter option", "all => all.map(each => each.value)")} <= {"", *HOSTILE}
    assert page.query_selector_all("img:not([src^='data:image/']), b, body script:not([id]):not([type])") == []


def test_what_streamed_images_bring(open_page):
    page = open_page("folder")
    assert "1 image could not be decoded" in page.text_content("#verdict")
    assert "no test set" in page.text_content("#verdict")
    cards = page.query_selector_all("#worst .card")
    assert len(cards) == 35
    assert all(card.query_selector("img") for card in cards)
    assert sum(card.query_selector(".path").inner_text().endswith(f"/{FILE}") for card in cards) == 1


def test_a_filter_shows_one_class(open_page):
    page = open_page("arrays")
    label = page.eval_on_selector("#worst li", "each => each.dataset.class")
    page.select_option("#filter", label)
    shown = page.eval_on_selector_all("#worst li:not([hidden])", "all => all.map(each => each.dataset.class)")
    assert {*shown} == {label}
    assert page.text_content("#worst-count") == str(len(shown))


def test_the_switch_changes_the_axis_of_all_charts(open_page):
    page = open_page("arrays")
    page.check("input[value=step]")
    page.wait_for_function(
        "[...document.querySelectorAll('svg .role-title-text text')].every(each => each.textContent === 'step')"
    )


def test_a_chart_shows_its_values_under_the_pointer(open_page, pages):
    history = [json.loads(line) for line in (pages["arrays"].parent / "history.jsonl").read_text().splitlines()]
    page = open_page("arrays")
    page.hover("#accuracies svg .background", position={"x": 2, "y": 40}, force=True)
    shown = page.wait_for_selector("#vg-tooltip-element.visible").inner_text()
    assert f"{100 * history[0]['train_accuracy']:.2f}" in shown
    assert f"{100 * history[0]['ema_test_accuracy']:.2f}" in shown


def test_a_table_is_sorted_by_a_click(open_page):
    page = open_page("comparison")
    page.click("#runs th button >> text=chosen")
    values = page.eval_on_selector_all("#runs tbody tr", "rows => rows.map(row => +row.cells[3].dataset.value)")
    assert values == sorted(values, reverse=True)
    assert len({*values}) > 1
    page.click("#runs th button >> text=chosen")
    again = page.eval_on_selector_all("#runs tbody tr", "rows => rows.map(row => +row.cells[3].dataset.value)")
    assert again == values[::-1]


def test_a_page_prints(open_page):
    assert open_page("arrays").pdf().startswith(b"%PDF")
