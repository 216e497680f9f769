"""The only door to a filesystem: this machine's, Google Cloud Storage, web servers, and whatever else Beam knows.

Errors are Python's own: FileNotFoundError, PermissionError, and OSError for the rest, on any filesystem. A file written
here appears whole or not at all. Requests that fail for a transient reason are retried.
"""

from beam_job.runtime.storage.base import FileInfo
from beam_job.runtime.storage.copying import copy_from_local, copy_to_local, directory_digest
from beam_job.runtime.storage.files import (
    LOOKED_BYTES,
    STREAMED_BYTES,
    changed_file,
    delete,
    exists,
    has_ranges,
    info_of,
    is_directory,
    list_files,
    list_folders,
    match,
    new_file,
    open_random,
    open_read,
    open_stream,
    read_bytes,
    read_range,
    read_tail,
    remove_empty_folders,
    size_of,
    version_of,
    write_bytes,
)
from beam_job.runtime.storage.globs import fixed_parent, has_wildcards
from beam_job.runtime.storage.paths import (
    absolute,
    is_allowed,
    is_below,
    is_local,
    is_web,
    join,
    parent,
    relative,
    without_file_scheme,
    without_query,
)
from beam_job.runtime.storage.web import confined

__all__ = [
    "LOOKED_BYTES",
    "STREAMED_BYTES",
    "FileInfo",
    "absolute",
    "changed_file",
    "confined",
    "copy_from_local",
    "copy_to_local",
    "delete",
    "directory_digest",
    "exists",
    "fixed_parent",
    "has_ranges",
    "has_wildcards",
    "info_of",
    "is_allowed",
    "is_below",
    "is_directory",
    "is_local",
    "is_web",
    "join",
    "list_files",
    "list_folders",
    "match",
    "new_file",
    "open_random",
    "open_read",
    "open_stream",
    "parent",
    "read_bytes",
    "read_range",
    "read_tail",
    "relative",
    "remove_empty_folders",
    "size_of",
    "version_of",
    "without_file_scheme",
    "without_query",
    "write_bytes",
]
