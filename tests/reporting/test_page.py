"""The report in a real browser: it renders, reacts to input, makes no requests, and runs no script from the data."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

import beam_job
from beam_job.cli.main import main
from beam_job.core.errors import InputError, UsageError
from tests.support.browser import browser, chromium, requests
from tests.support.embedded import embedded_or_skip
from tests.support.required import skip_or_fail

pytestmark = pytest.mark.timeout(300)
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>$x"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not chromium():
        skip_or_fail("Chromium and its driver are not installed")
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def hostile(few: Path, small_model: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 40 photographs and an error, with a head. Labels, ids and one URI try to run a script."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        {"uri": str(path), "label": f"{HOSTILE}{path.parent.name}", "id": f"{HOSTILE}{path.name}"}
        for path in sorted(few.glob("*/*.jpg"))
    ]
    rows.append({"uri": f"/nowhere/{HOSTILE}.jpg", "label": f"{HOSTILE}cat", "id": f"{HOSTILE} missing"})
    (folder / "images.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits = "train=0.6,validation=0.2,test=0.2"
    beam_job.extract(
        str(folder / "images.jsonl"), str(folder / "out"), splits=splits, max_error_rate=0.1, **small_model
    )
    beam_job.train_head(str(folder / "out"), epochs=2)
    beam_job.report(str(folder / "out"))
    return folder / "out-report.html"


@pytest.fixture(scope="module")
def page(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 1,008 photographs."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    result = beam_job.report(str(dataset), report=str(path))
    assert (result.sampled, result.records) == (1008, 1008)
    return path


def opened(driver: Any, page: Path) -> Any:
    """Opens the page in the browser, and checks that it requests only the page itself."""
    requests(driver)
    driver.get_log("browser")
    driver.get(page.as_uri())
    assert requests(driver) == [page.as_uri()]
    return driver


def is_drawn(driver: Any) -> bool:
    """Whether anything is drawn on the map."""
    script = """const canvas = document.querySelector('canvas');
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.some((value) => value > 0);"""
    return bool(driver.execute_script(script))


def test_the_page_renders(driver: Any, page: Path) -> None:
    opened(driver, page)
    assert driver.find_element(By.CSS_SELECTOR, "#totals .card b").text == "1,008"
    assert {row.text for row in driver.find_elements(By.CSS_SELECTOR, "#classes td:first-child")} >= {"cat", "rocket"}
    assert is_drawn(driver)
    assert driver.find_element(By.ID, "shown").text == "1,008 shown"
    assert driver.get_log("browser") == []


def test_hovering_over_a_point_shows_its_example(driver: Any, page: Path) -> None:
    opened(driver, page)
    # The position of the first point on the map.
    point = driver.execute_script("""const data = JSON.parse(document.getElementById('points').textContent);
    const canvas = document.querySelector('canvas');
    const [x, y] = data.maps[document.getElementById('projection').value][0];
    return [14 + x * (canvas.clientWidth - 28), 14 + (1 - y) * (canvas.clientHeight - 28), data.ids[0]];""")
    canvas = driver.find_element(By.TAG_NAME, "canvas")
    x, y = (round(point[axis] - canvas.size[side] / 2) for axis, side in enumerate(("width", "height")))
    ActionChains(driver).move_to_element_with_offset(canvas, x, y).perform()
    tip = driver.find_element(By.ID, "tip")
    assert tip.is_displayed()
    caption = re.search(r"([a-z]+)/[a-z]+-\d+\.jpg \((train|validation|test)\)", tip.text)
    assert caption
    assert caption[1] == tip.find_element(By.TAG_NAME, "b").text
    preview = tip.find_element(By.TAG_NAME, "img")
    assert driver.execute_script("return arguments[0].naturalWidth", preview) > 30
    ActionChains(driver).move_to_element(driver.find_element(By.TAG_NAME, "h1")).perform()
    assert not tip.is_displayed()


def test_the_map_can_be_filtered(driver: Any, page: Path) -> None:
    opened(driver, page)
    shown = driver.find_element(By.ID, "shown")
    Select(driver.find_element(By.ID, "class")).select_by_visible_text("cat")
    assert shown.text == "84 shown"
    driver.find_element(By.ID, "text").send_keys("cat-0001")
    assert shown.text == "1 shown"
    driver.find_element(By.ID, "text").send_keys("x")
    assert shown.text == "0 shown"
    assert not is_drawn(driver)
    driver.find_element(By.ID, "text").clear()
    Select(driver.find_element(By.ID, "class")).select_by_index(0)
    driver.find_element(By.ID, "text").send_keys(" \b")
    Select(driver.find_element(By.ID, "projection")).select_by_visible_text("PCA")
    assert is_drawn(driver)


def test_hostile_text_is_shown_as_text(driver: Any, hostile: Path) -> None:
    opened(driver, hostile)
    assert driver.execute_script("return window.hacked") is None
    assert is_drawn(driver)
    labels = [row.text for row in driver.find_elements(By.CSS_SELECTOR, "#classes td:first-child")]
    assert f"{HOSTILE}cat" in labels
    assert driver.find_elements(By.CSS_SELECTOR, "#errors td")[0].text == f"{HOSTILE} missing"
    options = [option.text for option in Select(driver.find_element(By.ID, "class")).options]
    assert f"{HOSTILE}coins" in options
    Select(driver.find_element(By.ID, "class")).select_by_visible_text(f"{HOSTILE}coins")
    assert driver.find_element(By.ID, "shown").text == "10 shown"
    assert driver.execute_script("return window.hacked") is None
    assert driver.get_log("browser") == []


def test_an_injected_script_does_not_run(driver: Any, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    attack = "<script>window.hacked=1</script><img src=http://127.0.0.1:9/x onerror='window.hacked=1'>"
    broken.write_text(page.read_text().replace("<main>", f"<main>{attack}", 1))
    driver.get(broken.as_uri())
    assert driver.execute_script("return window.hacked") is None
    assert len([entry for entry in driver.get_log("browser") if "Content Security Policy" in entry["message"]]) >= 2
    requests(driver)


def test_the_page_shows_the_head(driver: Any, hostile: Path) -> None:
    opened(driver, hostile)
    head = driver.find_element(By.ID, "head")
    assert "nearest neighbours" in head.text
    metrics = json.loads((hostile.parent / "out-head" / "metrics.json").read_text())
    assert f"{metrics['evaluations']['head']['accuracy']:.1%}" in head.text


def test_a_large_dataset_is_sampled_with_a_note_on_the_page(dataset: Path, tmp_path: Path) -> None:
    result = beam_job.report(str(dataset), report=str(tmp_path / "page.html"), sample=100)
    assert 50 < result.sampled < 200
    assert "a sample of 1,008" in (tmp_path / "page.html").read_text()


def test_examples_that_no_longer_exist_have_no_preview(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    shutil.copytree(few, tmp_path / "photos")
    result = beam_job.extract(str(tmp_path / "photos"), str(tmp_path / "out"), report=True, **small_model)
    assert result.report == str(tmp_path / "out-report.html")
    assert "can no longer be read" not in Path(result.report).read_text()
    shutil.rmtree(tmp_path / "photos")
    beam_job.report(str(tmp_path / "out"))
    assert "40 of them can no longer be read" in Path(result.report).read_text()


def test_a_dataset_of_two_examples_has_a_report(few: Path, tmp_path: Path, small_model: dict[str, str]) -> None:
    for path in sorted(few.glob("cat/*"))[:2]:
        (tmp_path / "two").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "two")
    beam_job.extract(f"{tmp_path}/two/*.jpg", str(tmp_path / "out"), **small_model)
    result = beam_job.report(str(tmp_path / "out"))
    assert result.health is None
    assert "<h2>Map of the features</h2>" not in Path(result.report).read_text()


def test_a_missing_dataset_or_head_is_reported_in_one_sentence(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(InputError, match="no complete dataset"):
        beam_job.report(str(tmp_path))
    with pytest.raises(UsageError, match="no head at --head"):
        beam_job.report(str(dataset), report=str(tmp_path / "page.html"), head=str(tmp_path))


@pytest.mark.parametrize(("modality", "least"), [("text", 25), ("audio", 70)])
def test_the_demo_of_another_modality(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], modality: str, least: float
) -> None:
    if modality == "text":
        embedded_or_skip("all-minilm-l6-v2")
    assert main(["demo", str(tmp_path / "demo"), f"--modality={modality}", "--examples_per_class=30"]) == 0
    output = capsys.readouterr().out
    accuracy = re.search(r"^head: accuracy ([\d.]+)%", output, re.MULTILINE)
    assert accuracy
    assert float(accuracy[1]) > least
    agrees = re.search(r"agrees with the head on 8 examples: .* by at most (\S+)", output)
    assert agrees
    assert float(agrees[1]) < 1e-5
    shown = {"text": "blockquote", "audio": "<audio controls"}[modality]
    assert shown in (tmp_path / "demo/features-report.html").read_text()


def test_the_demo_runs_from_samples_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", str(tmp_path / "demo"), "--examples_per_class=12"]) == 0
    output = capsys.readouterr().out
    accuracy = re.search(r"^head: accuracy ([\d.]+)%", output, re.MULTILINE)
    assert accuracy
    assert float(accuracy[1]) > 80
    assert output.strip().splitlines()[-1] == f"open the report: file://{tmp_path}/demo/features-report.html"
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    assert main(["demo", str(tmp_path / "demo")]) == 2
    assert "found thesis.txt" in capsys.readouterr().err
    assert (tmp_path / "demo" / "samples").exists()
