"""`dcap doctor report`: the archive for a report of a bug, and what is in it.

A gzipped tar that this user alone may read until he hands it on, also where there was a file before;
names in it lead nowhere but below its folder. Not here: what goes in (`doctor.report`), and without what
(`doctor.redaction`).
"""

import gzip
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dcap.doctor.report import Part
from dcap.errors import ConfigError, printable

FOLDER: Final = "dcap-doctor"
_README: Final = """What `dcap doctor report` found on a machine, for a report of a bug.

Secrets and what identifies the machine were masked: values of keys, tokens, passwords, PPIDs, QE ids and
manifests, hex of 32 digits and more, long random words, users in URLs. Names of hosts and folders are
as they were: read it through before you hand it on.
"""


def write_report(path: Path, parts: tuple[Part, ...]) -> dict[str, Any]:
    """Write the archive; what is in it. Raises `ConfigError` (`output-unwritable`)."""
    whole = (Part("README.txt", _README.encode(), "what this is"), *parts)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fchmod(descriptor, 0o600)  # there may have been one that others read
                file.truncate()
            file.write(_archive(whole))
    except OSError as error:
        raise ConfigError(
            "output-unwritable",
            f"the archive cannot be written: {error.strerror}",
            where=str(path),
            mend="name another file with -o",
        ) from None
    members = [{"name": _name(one), "size": len(one.content), "what": one.what} for one in whole]
    return {"file": str(path), "members": members}


def lines_of(value: dict[str, Any]) -> Iterator[str]:
    """What is in it, for who hands it on."""
    width = max(len(one["name"]) for one in value["members"])
    for one in value["members"]:
        yield f"{one['size']:>8}  {one['name']:<{width}}  {one['what']}"
    yield f"written to {value['file']}; read it through before you hand it on"


def _name(part: Part) -> str:
    """Its path in the archive: variables name files, and those names may hold `..` and anything else."""
    return printable(posixpath.normpath(f"/{part.name}").lstrip("/"))


def _archive(parts: tuple[Part, ...]) -> bytes:
    """The same bytes for the same parts: no times, no owners."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as outer,
        tarfile.open(fileobj=outer, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for part in parts:
            member = tarfile.TarInfo(f"{FOLDER}/{_name(part)}")
            member.size, member.mode = len(part.content), 0o644
            archive.addfile(member, io.BytesIO(part.content))
    return packed.getvalue()
