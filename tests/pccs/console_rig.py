"""What the tests of the console stand on: its application over a service of simulated Intel's.

Asked as a value (`Console.get`), or on a real HTTPS socket (`Console.served`). Not a home for
assertions.
"""

import asyncio
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from dcap.api.http import Headers, HttpRequest, HttpResponse
from dcap.pccs import asgi, tls
from dcap.pccs.assembly import Parts, tokens_of
from dcap.pccs.console import application
from dcap.pccs.refresh import Refresher
from dcap.pccs.setting_table import Settings
from dcap.serving import serving
from dcap.simulator.events import RecoveryAnnounced
from dcap.simulator.tls import tls_files
from pccs.rig import Rig

HOST = "pccs.example"
SAME_SITE: Headers = (("Origin", f"https://{HOST}"), ("Sec-Fetch-Site", "same-origin"))
FORM: Headers = (("Content-Type", "application/x-www-form-urlencoded"),)
_FORM_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')


class Console:
    """The console of a rig's service, with an admin token of its own."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.rig = rig
        self.settings = Settings(data=directory)
        tls.make_missing(
            self.settings.certificate_file, self.settings.key_file, at=datetime.now(UTC)
        )
        tokens = tokens_of(self.settings)
        self.token = tokens.new("admin", "admin", at=rig.world.at)
        self.user_token = tokens.new("user", "user", at=rig.world.at)
        self.parts = Parts(
            settings=self.settings,
            store=rig.store,
            upstream=rig.upstream,
            service=rig.service,
            handle=rig.handler,
            refresher=Refresher(rig.service, seed=secrets.token_bytes(16)),
            tokens=tokens,
        )
        self.application = application(lambda: self.parts)
        self.cookie = ""

    @classmethod
    def at(cls, directory: Path, **options: object) -> "Console":
        """A console over a rig of these options."""
        return cls(Rig(directory, **options), directory)  # type: ignore[arg-type]

    def ask(self, request: HttpRequest) -> HttpResponse:
        """The answer: this is a Handler."""
        answer = asgi.ask(self.application, request, client="127.0.0.1", server=("127.0.0.1", 8081))
        return asyncio.run(answer)

    def get(self, target: str, headers: Headers = ()) -> HttpResponse:
        """A page, with the session if there is one."""
        return self.ask(
            HttpRequest(target=target, headers=(("Host", HOST), *self._cookie(), *headers))
        )

    def page(self, target: str) -> str:
        """The text of a page that must be there."""
        response = self.get(target)
        assert response.status == 200, response.body
        return response.body.decode()

    def post(
        self,
        target: str,
        form: dict[str, str] | None = None,
        *,
        headers: Headers = SAME_SITE,
        with_form_token: bool = True,
    ) -> HttpResponse:
        """An act, as its own form would send it."""
        fields = dict(form or {})
        if with_form_token and self.cookie:
            fields["form_token"] = self.form_token
        return self.ask(
            HttpRequest(
                method="POST",
                target=target,
                headers=(("Host", HOST), *FORM, *self._cookie(), *headers),
                body=urlencode(fields).encode(),
            )
        )

    def sign_in(self) -> HttpResponse:
        """Sign in with the admin token; the session stays."""
        response = self.post("/console/sign-in", {"token": self.token}, with_form_token=False)
        self.cookie = (response.header("Set-Cookie") or "").partition(";")[0]
        return response

    @property
    def form_token(self) -> str:
        """What the forms of this session carry."""
        found = _FORM_TOKEN.search(self.page("/"))
        assert found is not None
        return found[1]

    def _cookie(self) -> Headers:
        return (("Cookie", self.cookie),) if self.cookie else ()

    @contextmanager
    def served(self, directory: Path) -> Iterator[str]:
        """On a real HTTPS socket: its URL."""
        certificate, key, _ = tls_files(self.rig.world, directory)
        with serving(self.ask, tls=(certificate, key)) as server:
            yield server.url


def fill(console: Console) -> None:
    """What a rack's cache has: machines of two kinds, all collateral, and a recovery announced."""
    rig = console.rig
    RecoveryAnnounced().apply(rig.world)
    for name in ("alpha", "beta", "gamma"):
        rig.fill(rig.world.platform(name))
    rig.fill(rig.world.platform("delta", ca="processor"))
    for line in ("rootcacrl", "fmspcs", "pckcrl?ca=processor", "qe/identity?update=early"):
        assert rig.ask(line).status == 200


def age(console: Console, days: float) -> None:
    """Days go by."""
    console.rig.world.advance(timedelta(days=days))
