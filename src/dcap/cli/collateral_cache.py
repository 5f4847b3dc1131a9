"""`dcap collateral show --cache`: what the caches of this machine hold, as plain values and lines.

Intel's and Azure's are read to be looked at, and never used: both keep collateral past its end.
"""

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dcap.cli.collateral_set import instant_text
from dcap.sources.cache_entry import Entry, read_dcap_cache
from dcap.sources.disk import cache_directory
from dcap.sources.foreign_caches import (
    azure_cache_directory,
    intel_cache_directory,
    read_azure_cache,
    read_intel_cache,
)

#: Whose cache -> where it is, and its reader.
CACHES: dict[str, tuple[Callable[[], Path | None], Callable[[Path], list[Entry]]]] = {
    "dcap": (lambda: cache_directory(os.environ), read_dcap_cache),
    "intel": (lambda: intel_cache_directory(os.environ), read_intel_cache),
    "azure": (lambda: azure_cache_directory(os.environ), read_azure_cache),
}


def cache_values(which: str, at: datetime) -> list[dict[str, Any]]:
    """One cache, or `all`: where it is, and its entries, newest first."""
    values = []
    for name in CACHES if which == "all" else (which,):
        find, read = CACHES[name]
        place = find()
        entries = [] if place is None or not place.is_dir() else read(place)
        values.append(
            {
                "cache": name,
                "directory": None if place is None else str(place),
                "entries": [_value(entry, at) for entry in entries],
            }
        )
    return values


def _value(entry: Entry, at: datetime) -> dict[str, Any]:
    content = entry.content
    dates = {"issued": content.issued, "next_update": content.next_update, "expires": entry.expires}
    return {
        "file": entry.file,
        "size": entry.size,
        "kind": content.kind,
        "about": content.about,
        "fmspc": content.fmspc or None,
        "evaluation_number": content.evaluation_number,
        "stored": instant_text(entry.stored),
        **{name: None if date is None else instant_text(date) for name, date in dates.items()},
        "age_hours": max(0, (at - entry.stored) // timedelta(hours=1)),
        "expired": entry.expired(at),
        "problem": entry.trouble or content.trouble or None,
    }


def cache_lines(values: list[dict[str, Any]]) -> Iterator[str]:
    """The same, for people."""
    for value in values:
        count = len(value["entries"])
        place = value["directory"] or "there is none"
        yield f"{value['cache']}   {place}   {count} {'entry' if count == 1 else 'entries'}"
        for entry in value["entries"]:
            yield f"  {_words(entry)}"


def _words(entry: dict[str, Any]) -> str:
    words = [entry["kind"]]
    if entry["about"]:
        words.append(entry["about"])
    if entry["fmspc"] and entry["fmspc"] not in entry["about"]:
        words.append(f"FMSPC {entry['fmspc'].upper()}")
    if entry["evaluation_number"] is not None:
        words.append(f"evaluation data {entry['evaluation_number']}")
    words.append(f"kept since {entry['stored']}")
    ends = [entry[name] for name in ("next_update", "expires") if entry[name]]
    if ends:
        words.append(f"{'EXPIRED' if entry['expired'] else 'good until'} {min(ends)}")
    if entry["problem"]:
        words.append(f"unreadable: {entry['problem']}")
    return ", ".join(words)
