"""Paths: local ones, and URLs of other filesystems."""

from __future__ import annotations

import os
import posixpath
import re
import urllib.parse
from collections.abc import Sequence

_FILE_SCHEME = "file://"
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


def is_local(path: str) -> bool:
    """Whether ``path`` is on this machine's own filesystem, rather than behind a scheme such as ``gs://``."""
    return not _SCHEME.match(path)


def is_web(path: str) -> bool:
    """Whether ``path`` is on a web server, which does not list its files."""
    return path.startswith(("https://", "http://"))


def without_query(path: str) -> str:
    """``path`` without the query and the fragment that the URL of a web server may end with.

    >>> without_query("https://host/a.tar?token=1"), without_query("/data/what?.csv")
    ('https://host/a.tar', '/data/what?.csv')
    """
    return re.split("[?#]", path, maxsplit=1)[0] if is_web(path) else path


def join(base: str, *parts: str) -> str:
    """``base`` and ``parts`` with one slash between them, on any filesystem."""
    if is_local(base):
        return os.path.join(base, *parts)
    return "/".join([base.rstrip("/"), *parts])


def parent(path: str) -> str:
    """The directory that holds ``path``."""
    return os.path.dirname(path) if is_local(path) else posixpath.dirname(without_query(path))


def without_file_scheme(path: str) -> str:
    """The local path of a ``file://`` URL; any other path as it is.

    >>> without_file_scheme("file:///a%20b/c.jpg"), without_file_scheme("gs://a/b%20c")
    ('/a b/c.jpg', 'gs://a/b%20c')
    """
    url = urllib.parse.urlsplit(path) if path.startswith(_FILE_SCHEME) else None
    return urllib.parse.unquote(url.path) if url and url.netloc in ("", "localhost") else path


def absolute(path: str) -> str:
    """``path`` in a form that means the same from any working directory."""
    path = without_file_scheme(path)
    return os.path.abspath(os.path.expanduser(path)) if is_local(path) else path.rstrip("/")


def relative(path: str, root: str) -> str:
    """``path`` relative to ``root``, with forward slashes; ``path`` itself when it is not below ``root``."""
    prefix = root.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else path


def is_below(path: str, root: str) -> bool:
    """Whether ``path`` lies in the directory ``root``; locally, after links and ``..`` are resolved."""
    if is_local(path) != is_local(root):
        return False
    if not is_local(path):
        return path.startswith(root.rstrip("/") + "/") and ".." not in _folders(path)
    real, real_root = os.path.realpath(path), os.path.realpath(root)
    return real.startswith(real_root.rstrip(os.sep) + os.sep)


def _folders(path: str) -> list[str]:
    """The folders in the URL of a file, as a web server understands them."""
    if not is_web(path):
        return path.split("/")
    plain = without_query(path)
    while (decoded := urllib.parse.unquote(plain)) != plain:
        plain = decoded
    return re.split(r"[/\\]", plain)


def is_allowed(path: str, roots: Sequence[str]) -> bool:
    """Whether ``path`` lies in one of the roots, or there are none."""
    return not roots or any(is_below(path, root) for root in roots)


def temporary(path: str, token: str) -> str:
    """The name that a file has while it is written; ``naming.is_temporary`` knows it."""
    return f"{path}.tmp-{token}"
