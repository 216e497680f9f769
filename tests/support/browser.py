"""Headless Chromium, driven by Selenium, with a log of its requests and console messages."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# Keeps Chromium from making requests of its own.
FLAGS = (
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
    """The path of Chromium, or None if it or its driver is not installed."""
    return shutil.which("chromium") if shutil.which("chromedriver") else None


@contextlib.contextmanager
def browser(profile: Path, width: int = 1180, height: int = 1000) -> Iterator[Any]:
    """A browser for the duration of the block."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium()
    for argument in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def requests(driver: Any) -> list[str]:
    """The URLs that the browser has requested since the last call, without data: URLs."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    urls = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith("data:")]
