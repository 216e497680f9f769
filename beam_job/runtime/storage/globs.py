"""Globs, with one meaning on every filesystem: that of a shell."""

from __future__ import annotations

import re

from beam_job.runtime.storage.paths import is_web

WILDCARDS = re.compile(r"[*?\[]")
_CLASS = re.compile(r"\[([!^]?)(\]?[^\]]*)\]")
_NOT_HIDDEN = r"(?!\.)"


def has_wildcards(path: str) -> bool:
    """Whether a path is a pattern; a URL of a web server, in which ``?`` begins a query, is none."""
    return not is_web(path) and bool(WILDCARDS.search(path))


def escape(path: str) -> str:
    """A pattern that only ``path`` itself matches."""
    return WILDCARDS.sub(r"[\g<0>]", path)


def fixed_parent(pattern: str) -> str:
    """The part of a pattern up to the last slash before its first wildcard, without that slash."""
    return WILDCARDS.split(pattern, maxsplit=1)[0].rpartition("/")[0]


def translate(pattern: str) -> re.Pattern[str]:
    r"""A regular expression for whole paths.

    ``*`` and ``?`` match within a name, ``**`` any number of folders, ``[...]`` one of some characters. As in a shell,
    a wildcard at the start of a name does not match a dot, so that hidden files must be named.

    >>> bool(translate("a/*.jpg").fullmatch("a/x.jpg")), bool(translate("a/*.jpg").fullmatch("a/.x.jpg"))
    (True, False)
    >>> bool(translate("a/**/*.jpg").fullmatch("a/x.jpg")), bool(translate("a/**").fullmatch("a/b/c"))
    (True, True)
    """
    parts, place = [], 0
    while place < len(pattern):
        starts_name = place == 0 or pattern[place - 1] == "/"
        guard = _NOT_HIDDEN if starts_name and pattern[place] in "*?[" else ""
        if pattern.startswith("**", place):
            place += 2
            if starts_name and pattern.startswith("/", place):
                parts.append(rf"(?:{_NOT_HIDDEN}[^/]+/)*")
                place += 1
            else:
                parts.append(rf"{guard}[^/]*(?:/{_NOT_HIDDEN}[^/]+)*?[^/]*")
            continue
        found = _CLASS.match(pattern, place)
        if found:
            negation, members = found.groups()
            parts.append(f"{guard}[{'^/' if negation else ''}{re.escape(members).replace(chr(92) + '-', '-')}]")
            place = found.end()
            continue
        parts.append(guard + {"*": "[^/]*", "?": "[^/]"}.get(pattern[place], re.escape(pattern[place])))
        place += 1
    return re.compile("".join(parts), re.DOTALL)
