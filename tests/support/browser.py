"""A real browser without a window: Chromium, by way of Selenium, that notes every request and every complaint."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# Chromium itself asks for nothing.
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def chromium() -> str | None:
    """The browser, where it and its driver are installed."""
    return shutil.which("chromium") if shutil.which("chromedriver") else None


@contextlib.contextmanager
def browser(profile: Path, width: int = 1180, height: int = 1000) -> Iterator[Any]:
    """A browser as long as the block lasts."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium()
    for argument in (*QUIET, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def requests(driver: Any) -> list[str]:
    """The addresses that the page has asked for since the last time; what it carries in itself is none."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    urls = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith("data:")]
