"""Listings of buckets, against a server that answers in pages, which the emulator does not do."""

from __future__ import annotations

import http.server
import itertools
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from beam_job.core.errors import InputError
from beam_job.core.options import ExtractOptions
from beam_job.dataset.originals import example_files
from beam_job.extraction.preparation import prepare
from beam_job.inputs.base import all_refs
from beam_job.inputs.selection import open_source
from beam_job.modalities.image.modality import ImageModality
from beam_job.runtime import storage
from beam_job.runtime.storage import gcs
from tests.support.loopback import HOST, running

PAGE = 10
CLASSES = ("test/a", "test/b", "train/a", "train/b")
NAMES = [f"photos/{folder}/{number:03}.jpg" for folder in CLASSES for number in range(40)]


class _Pages(http.server.BaseHTTPRequestHandler):
    """The listing of Google Cloud Storage's JSON API (https://cloud.google.com/storage/docs/json_api/v1/objects/list)."""

    requests: list[dict[str, str]]

    def do_GET(self) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        path = urllib.parse.urlsplit(self.path).path
        if path.endswith("/o"):  # the client also asks what the bucket is, once
            self.requests.append(query)
        elif "/o/" in path and urllib.parse.unquote(path.rpartition("/o/")[2]) not in NAMES:
            self.send_error(404)
            return
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        entries: dict[str, bool] = {}
        for name in NAMES:
            if name.startswith(prefix):
                head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
                entries[prefix + head + found if delimiter else name] = bool(found)
        first = int(query.get("pageToken", "0"))
        page = list(entries)[first : first + PAGE]
        answer: dict[str, Any] = {
            "items": [{"name": name, "size": "7", "generation": "1"} for name in page if not entries[name]],
            "prefixes": [name for name in page if entries[name]],
        }
        if first + PAGE < len(entries):
            answer["nextPageToken"] = str(first + PAGE)
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Logs nothing."""


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """The queries that the server is asked."""
    seen: list[dict[str, str]] = []
    handler = type("Pages", (_Pages,), {"requests": seen})
    with running(http.server.ThreadingHTTPServer((HOST, 0), handler)) as address:
        options = {"api_endpoint": f"http://{address}"}
        client = Client(project="test", credentials=AnonymousCredentials(), client_options=options)
        monkeypatch.setattr(gcs, "_client", lambda: client)
        yield seen


def test_all_pages_are_listed(requests: list[dict[str, str]]) -> None:
    assert sorted(info.path for info in storage.list_files("gs://b/photos")) == [f"gs://b/{name}" for name in NAMES]
    assert len(requests) == len(NAMES) // PAGE
    assert {info.version for info in storage.list_files("gs://b/photos/train/a")} == {"7-1"}
    assert len(list(storage.match("gs://b/photos/*/a/*1.jpg"))) == 8
    assert sorted(storage.list_folders("gs://b/photos") or ()) == ["test", "train"]
    assert list(storage.list_files("gs://b/photos", recursive=False)) == []


def test_a_launch_that_wants_a_few_examples_takes_the_first_pages(requests: list[dict[str, str]]) -> None:
    source = open_source("gs://b/photos")
    source.check()
    files = example_files(ImageModality)
    refs = list(itertools.islice(all_refs(source, files), 8))
    assert [ref.split for ref in refs] == ["test"] * 8
    full_pages = [query for query in requests if "delimiter" not in query and query.get("pageToken")]
    assert full_pages == []
    assert len(requests) <= 14


def test_class_folders_of_splits_are_units_of_their_own(requests: list[dict[str, str]]) -> None:
    source = open_source("gs://b/photos")
    units = list(source.units())
    assert [unit for unit in units if unit.startswith("tree:")] == [f"tree:{folder}" for folder in CLASSES]
    refs = list(all_refs(source, example_files(ImageModality)))
    assert sorted(ref.uri for ref in refs) == [f"gs://b/{name}" for name in NAMES]


def test_a_store_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"api_endpoint": f"http://{HOST}:1"}  # nothing listens there
    client = Client(project="test", credentials=AnonymousCredentials(), client_options=options)
    monkeypatch.setattr(gcs, "_client", lambda: client)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    with pytest.raises(InputError, match=r"The input cannot be read: gs://b/photos/: .*Connection refused"):
        prepare(ExtractOptions.of(input="gs://b/photos", output="/nowhere"))
