"""Pages as text: templates, the frame around each, and the files beside them (style, icon).

Every value is escaped by the templates. Not here: what the pages say (`collateral`, `levels` …), who
asks (`application`).
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from dcap import __version__
from dcap.pccs.assembly import Parts
from dcap.pccs.console import wording
from dcap.pccs.console.sessions import Session
from dcap.verification.anchors import SIMULATED

_FOLDER: Final = Path(__file__).parent
_TYPES: Final = {"console.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
#: Path -> the word in the navigation.
PAGES: Final = {
    "/": "Overview",
    "/console/platforms": "Platforms",
    "/console/collateral": "Collateral",
    "/console/levels": "TCB levels",
    "/console/queue": "Queue",
    "/console/upstream": "Upstream and errors",
}
_MODES: Final = {
    "LAZY": "fetches what is asked for",
    "REQ": "fetches for machines that register",
    "OFFLINE": "fetches nothing",
}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file that pages need."""

    body: bytes
    media_type: str
    tag: str


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an act. `tone` is "good" or "bad"."""

    tone: str
    text: str
    mend: str = ""


@cache
def static_files() -> dict[str, File]:
    """The files beside the pages, by name."""
    found = {}
    for name, media_type in _TYPES.items():
        body = (_FOLDER / "static" / name).read_bytes()
        tag = hashlib.sha256(body).hexdigest()[:16]
        found[name] = File(body=body, media_type=media_type, tag=tag)
    return found


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters |= {"instant": _instant, "whole": wording.whole, "counted": wording.count}
    templates.filters["sentence"] = wording.sentence
    return templates


def _instant(at: datetime | None) -> Markup:
    """An instant as HTML; a dash where there is none."""
    if at is None:
        return Markup('<span class="none">never</span>')
    shown = escape(wording.instant(at))
    return Markup('<time datetime="{}">{}</time>').format(wording.machine_instant(at), shown)


def render(
    template: str,
    parts: Parts,
    path: str,
    values: Mapping[str, object],
    *,
    session: Session | None = None,
    notice: Notice | None = None,
    status: int = 200,
) -> Response:
    """A page. `path` is its place in the navigation."""
    mode = parts.service.mode.value
    text = (
        _templates()
        .get_template(template)
        .render(
            path=path,
            pages=PAGES,
            version=__version__,
            mode=mode,
            mode_means=_MODES[mode],
            is_simulated=parts.upstream.anchor.name == SIMULATED,
            place=parts.store.place,
            at=parts.service.clock(),
            refreshes=parts.service.rules.refreshes,
            signed_in=session is not None,
            form_token="" if session is None else session.form_token,
            notice=notice,
            tags={name: file.tag for name, file in static_files().items()},
            **values,
        )
    )
    return HTMLResponse(text, status)
