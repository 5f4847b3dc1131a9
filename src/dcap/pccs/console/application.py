"""The routes of the console: pages for everybody, forms for who signed in with the admin token.

A form is obeyed if it was sent from here, in a session that is open, and made for that session; then the
answer is a redirect to the page, which says what came of it. Pages are computed in a few threads of
their own, so that who reads them does not slow down the service. Where the database does not answer,
that is said.

Not here: sessions (`sessions`), headers (`guard`), what pages say (`collateral`, `levels` …).
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dcap.api.pccs_responses import CAUSE
from dcap.errors import DcapError, FormatError
from dcap.pccs.assembly import Parts
from dcap.pccs.causes import CAUSES, not_served
from dcap.pccs.console import (
    attention,
    collateral,
    levels,
    next_steps,
    platforms,
    suppliers,
    waiting,
)
from dcap.pccs.console.guard import Guarded
from dcap.pccs.console.pages import Notice, render, static_files
from dcap.pccs.console.sessions import (
    COOKIE,
    Session,
    is_from_here,
    session_of,
    sign_in,
    sign_out,
)
from dcap.pccs.console.timeline import timelines
from dcap.pccs.items import Tee, read_key
from dcap.pccs.renewal import is_renewable

#: More than any form of ours has.
MAX_FORM: Final = 16 * 1024
_MAX_FIELDS: Final = 32
#: Pages computed at once, and acts, which may wait for upstream.
_READERS: Final = 4
_ACTORS: Final = 4
_COLLATERAL: Final = "/console/collateral"
_QUEUE: Final = "/console/queue"
_SIGN_IN: Final = "/console/sign-in"
#: What came of an act -> its tone, and what is said. Figures and causes are put in by name.
_SAID: Final = {
    "signed-in": ("good", "Signed in. This session lasts four hours."),
    "signed-out": ("good", "Signed out."),
    "renewed": ("good", "The item was renewed."),
    "not-renewed": ("bad", "The item was not renewed: {cause}."),
    "renewed-all": ("good", "All {renewed} items were renewed."),
    "renewed-some": ("bad", "{renewed} items were renewed, {failed} were not: see the errors."),
    "taken-out": ("good", "The machine was taken out of the queue."),
    "not-in-queue": ("bad", "That machine is no longer in the queue."),
}

Page: TypeAlias = Callable[["Visit"], Response]


class Visit:
    """One request, and who makes it."""

    def __init__(self, parts: Parts, request: Request, body: bytes = b"") -> None:
        self.parts = parts
        self.request = request
        self.path = request.url.path
        #: Whether more was sent than a form of ours has: then nothing of it is read.
        self.is_too_large = len(body) > MAX_FORM or body.count(b"&") >= _MAX_FIELDS
        text = "" if self.is_too_large else body.decode("utf-8", "replace")
        self.form = dict(reversed(parse_qsl(text, keep_blank_values=True)))
        self.session: Session | None = None

    def open(self) -> "Visit":
        """With its session, if it has one. Raises the store's errors."""
        self.session = session_of(self.parts, self.request.cookies.get(COOKIE))
        return self

    def page(self, template: str, path: str, **values: object) -> Response:
        """A page, saying what came of the act before it."""
        notice = self._notice()
        return render(template, self.parts, path, values, session=self.session, notice=notice)

    def refuse(self, status: int, title: str, mend: str, code: str = "") -> Response:
        """A page that says why not."""
        return render(
            "refusal.html",
            self.parts,
            "",
            {"title": title, "mend": mend, "code": code},
            session=self.session,
            status=status,
        )

    def _notice(self) -> Notice | None:
        """Nobody else can send a person here with it: from elsewhere there is no session."""
        query = self.request.query_params
        said = _SAID.get(query.get("said", ""))
        if said is None or (self.session is None and query["said"] != "signed-out"):
            return None
        tone, text = said
        known = CAUSES.get(query.get("cause", ""))
        figures = {name: query.get(name, "0")[:9] for name in ("renewed", "failed")}
        if not all(figure.isdecimal() for figure in figures.values()):
            return None
        shown = text.format(cause="" if known is None else known.what, **figures)
        return Notice(tone=tone, text=shown, mend="" if known is None else known.mend)


def application(parts: Callable[[], Parts]) -> Starlette:
    """The console over a service's parts, which are asked for anew for each request."""
    readers = ThreadPoolExecutor(_READERS, "dcap-pccs-console")
    actors = ThreadPoolExecutor(_ACTORS, "dcap-pccs-console-acts")

    async def beside(pool: ThreadPoolExecutor, work: Callable[[], Response]) -> Response:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def read(page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await beside(readers, partial(_answered, page, Visit(parts(), request)))

        return answer

    def act(page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            visit = Visit(parts(), request, await request.body())
            return await beside(actors, partial(_acted, page, visit))

        return answer

    async def not_here(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        visit = Visit(parts(), request)
        return await beside(readers, partial(_nothing, visit, error))

    made = Starlette(
        routes=[
            Route("/", read(_overview)),
            Route("/console/platforms", read(_platforms)),
            Route(_COLLATERAL, read(_collateral)),
            Route("/console/levels", read(_levels)),
            Route(_QUEUE, read(_queue)),
            Route("/console/upstream", read(_upstream)),
            Route(_SIGN_IN, read(_sign_in_page)),
            Route(_SIGN_IN, act(_sign_in), methods=["POST"]),
            Route("/console/sign-out", act(_sign_out), methods=["POST"]),
            Route("/console/renew", act(_renew), methods=["POST"]),
            Route("/console/renew-all", act(_renew_all), methods=["POST"]),
            Route("/console/take-out", act(_take_out), methods=["POST"]),
            Route("/console/static/{name}", _static),
        ],
        middleware=[Middleware(Guarded)],
        exception_handlers={404: not_here, 405: not_here},
    )
    made.router.redirect_slashes = False
    return made


def _answered(page: Page, visit: Visit) -> Response:
    """A page, or that the store does not answer."""
    try:
        return page(visit.open())
    except DcapError as error:
        visit.session = None
        return visit.refuse(503, error.what, error.mend, error.code)


def _acted(page: Page, visit: Visit) -> Response:
    """An act, once it is known to be meant. 1. From here. 2. Signed in. 3. A form of this session."""
    request = visit.request
    if visit.is_too_large:
        return visit.refuse(413, "The form is too large", "Go back, and try again.")
    if not is_from_here(request.headers):
        return visit.refuse(
            403,
            "This form was not sent from the console",
            "Open the console itself, and do it there. Behind a proxy: let it keep the Host header.",
            "console-origin",
        )

    def checked(visit: Visit) -> Response:
        if page is _sign_in:
            return page(visit)
        if visit.session is None:
            return visit.refuse(
                403, "Nobody is signed in", "Sign in with the admin token.", "console-session"
            )
        if not visit.session.owns(visit.form.get("form_token", "")):
            return visit.refuse(
                403,
                "This form belongs to another session",
                "Go back, load the page anew, and try again.",
                "console-form",
            )
        return page(visit)

    return _answered(checked, visit)


def _nothing(visit: Visit, error: HTTPException) -> Response:
    """No such page, or not this way."""

    def refused(visit: Visit) -> Response:
        if error.status_code == 405:
            return visit.refuse(405, "This page takes no such request", "Use the links above.")
        return visit.refuse(404, "There is no such page", "Use the links above.")

    response = _answered(refused, visit)
    response.headers.update(error.headers or {})
    return response


async def _static(request: Request) -> Response:
    file = static_files().get(request.path_params["name"])
    if file is None:
        raise HTTPException(404)
    # Pages name it by its tag: another content has another address.
    headers = {"Cache-Control": "public, max-age=86400", "ETag": f'"{file.tag}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)


# Pages


def _overview(visit: Visit) -> Response:
    parts = visit.parts
    items = collateral.item_rows(parts)
    kept = parts.store.statistics()
    queue = kept.registrations
    supplied = suppliers.supplier_rows(parts)
    lately = suppliers.trouble_rows(parts, within=attention.LATELY)
    return visit.page(
        "overview.html",
        "/",
        attentions=attention.attention(parts, items, queue, supplied, lately),
        items=items,
        kept=kept,
        waiting=queue.get("NEW", 0),
        unavailable=queue.get("NOT_AVAILABLE", 0),
        supplied=supplied,
        timelines=timelines(items, parts.service.clock()),
        troubles=suppliers.trouble_rows(parts, most=5),
        address=visit.request.headers.get("host", "localhost:8081"),
        others=next_steps.for_machines(parts.settings, visit.request.headers.get("host", "")),
    )


def _platforms(visit: Visit) -> Response:
    parts = visit.parts
    kinds = platforms.kind_rows(parts, parts.store.items.summaries())
    asked, page = visit.request.query_params.get("fmspc"), None
    if asked is not None:
        fmspc = platforms.read_fmspc(asked)
        if fmspc is None:
            return visit.refuse(400, "That is no FMSPC", "An FMSPC has 12 hexadecimal digits.")
        number = visit.request.query_params.get("page", "1")[:4]
        wanted = int(number) if number.isdecimal() and number.isascii() else 1
        page = platforms.machine_page(parts, fmspc, min(max(wanted, 1), platforms.LAST_PAGE))
    return visit.page(
        "platforms.html",
        "/console/platforms",
        kinds=kinds,
        machines=sum(kind.machines for kind in kinds),
        page=page,
        page_size=platforms.PAGE,
        last_page=platforms.LAST_PAGE,
    )


def _collateral(visit: Visit) -> Response:
    items = collateral.item_rows(visit.parts)
    pictures = timelines(items, visit.parts.service.clock())
    renews = visit.parts.service.rules.refreshes and visit.parts.settings.refresh
    return visit.page(
        "collateral.html", _COLLATERAL, items=items, timelines=pictures, renews_itself=renews
    )


def _levels(visit: Visit) -> Response:
    parts, query = visit.parts, visit.request.query_params
    choices = levels.choices(parts)
    asked = query.get("fmspc") or (choices[0].fmspc if len(choices) == 1 else None)
    comparison = None
    tee: Tee = "TDX" if query.get("tee") == "TDX" else "SGX"
    if asked is not None:
        fmspc = platforms.read_fmspc(asked)
        if fmspc is None:
            return visit.refuse(400, "That is no FMSPC", "An FMSPC has 12 hexadecimal digits.")
        comparison = levels.compare(parts, fmspc, tee)
        if comparison is None:
            return visit.refuse(
                404,
                f"No TCB info of {fmspc.hex().upper()} for {tee} is kept",
                "It is fetched when a machine of that FMSPC comes, or is asked for.",
            )
    return visit.page("levels.html", "/console/levels", choices=choices, shown=comparison)


def _queue(visit: Visit) -> Response:
    parts = visit.parts
    kept = parts.store.statistics().registrations
    return visit.page(
        "queue.html",
        _QUEUE,
        waiting=waiting.waiting_rows(parts, "NEW", visit.session),
        unavailable=waiting.waiting_rows(parts, "NOT_AVAILABLE", visit.session),
        kept=kept,
        most=waiting.MOST,
        queues=parts.service.rules.queues,
    )


def _upstream(visit: Visit) -> Response:
    parts = visit.parts
    return visit.page(
        "upstream.html",
        "/console/upstream",
        supplied=suppliers.supplier_rows(parts),
        troubles=suppliers.trouble_rows(parts),
        causes=suppliers.cause_rows(parts),
        workers=parts.settings.workers,
    )


def _sign_in_page(visit: Visit) -> Response:
    return visit.page("sign_in.html", "", is_wrong=False)


# Acts


def _sign_in(visit: Visit) -> Response:
    session = sign_in(visit.parts, visit.form.get("token", ""))
    if session is None:
        response = render("sign_in.html", visit.parts, "", {"is_wrong": True}, status=401)
        response.headers[CAUSE] = "bad-token"
        return response
    if visit.session is not None:
        sign_out(visit.parts, visit.session)
    response = _to("/", "signed-in")
    response.set_cookie(
        COOKIE, session.secret, path="/", secure=True, httponly=True, samesite="strict"
    )
    return response


def _sign_out(visit: Visit) -> Response:
    assert visit.session is not None
    sign_out(visit.parts, visit.session)
    response = _to("/", "signed-out")
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return response


def _renew(visit: Visit) -> Response:
    parts = visit.parts
    try:
        key = read_key(visit.form.get("key", ""))
    except FormatError as error:
        return visit.refuse(400, error.what, "Load the page anew.", error.code)
    if parts.store.items.get(key) is None or not is_renewable(key):
        return visit.refuse(404, "No such item is kept", "Load the page anew.")
    if not parts.service.rules.refreshes:
        return _to(_COLLATERAL, "not-renewed", cause="offline")
    parts.upstream.items.forget()
    try:
        parts.upstream.item(key, after=parts.service.clock())
    except DcapError as error:
        return _to(_COLLATERAL, "not-renewed", cause=not_served(error).cause)
    return _to(_COLLATERAL, "renewed")


def _renew_all(visit: Visit) -> Response:
    try:
        done = visit.parts.service.refresh_items()
    except DcapError as error:
        return _to(_COLLATERAL, "not-renewed", cause=not_served(error).cause)
    said = "renewed-some" if done.failed else "renewed-all"
    return _to(_COLLATERAL, said, renewed=str(done.renewed), failed=str(len(done.failed)))


def _take_out(visit: Visit) -> Response:
    assert visit.session is not None
    done = waiting.take_out(visit.parts, visit.session, visit.form.get("machine", ""))
    return _to(_QUEUE, "taken-out" if done else "not-in-queue")


def _to(path: str, said: str, **values: str) -> Response:
    query = urlencode({"said": said, **values})
    return RedirectResponse(f"{path}?{query}", 303)
