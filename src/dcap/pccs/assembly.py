"""The parts of a running service, put together from its settings. Nothing listens yet.

    prepare(settings, at=now)                # the first start: folder, TLS, tokens, database
    with assembled(settings, log) as parts:  # in each worker: store, upstream, service, handler
        parts.handle(HttpRequest(…))

Not here: sockets (`server`), processes (`supervisor`).
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from dcap.api.http import Handler
from dcap.errors import ConfigError, FormatError
from dcap.formats.certificate import Certificate
from dcap.pccs import tls
from dcap.pccs.auth import Role, Tokens
from dcap.pccs.config import upstream_key
from dcap.pccs.handler import pccs_handler
from dcap.pccs.mode import Mode
from dcap.pccs.private_files import make_folder
from dcap.pccs.refresh import Refresher, Round
from dcap.pccs.request_log import RequestLog
from dcap.pccs.service import Expired, PccsService
from dcap.pccs.setting_table import Settings
from dcap.pccs.store.store import Store
from dcap.pccs.suppliers import Supplier, supplier
from dcap.pccs.upstream import Incident, Upstream
from dcap.transport import Limits, Network
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor

#: Shorter than the patience of who asks: one upstream may fail, and the next still answer in time.
UPSTREAM_LIMITS: Final = Limits(connect=4, read=8, total=10, attempts=2)
#: Far more than one certificate.
_MAX_ROOT: Final = 64 * 1024


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What a start made: tokens are shown now or never."""

    tokens: Mapping[Role, str]
    made_certificate: bool

    def __repr__(self) -> str:
        return "<Prepared>"


def tokens_of(settings: Settings) -> Tokens:
    """The tokens of a service."""
    return Tokens(
        settings.tokens_file, user=settings.user_token_hash, admin=settings.admin_token_hash
    )


def prepare(settings: Settings, *, at: datetime) -> Prepared:
    """Make what is missing, and check what is there. Raises `ConfigError`, `Unavailable`."""
    make_folder(settings.data)
    made = settings.tls_certificate is None and tls.make_missing(
        settings.certificate_file, settings.key_file, at=at
    )
    tls.server_context(settings.certificate_file, settings.key_file, client_ca=settings.client_ca)
    anchor_of(settings)
    _suppliers(settings, _no_network)
    tokens = tokens_of(settings)
    tokens.all()
    return Prepared(tokens=tokens.make_missing(at=at), made_certificate=made)


def _no_network(origin: str) -> Handler:
    """Nothing is asked while a start is prepared."""
    raise AssertionError(origin)


def anchor_of(settings: Settings) -> TrustAnchor:
    """Intel's root, or the test root that was loudly asked for. Raises `ConfigError`."""
    file = settings.insecure_test_root
    if file is None:
        return INTEL_SGX_ROOT
    try:
        data = file.read_bytes()[:_MAX_ROOT]
        found = Certificate.parse_chain(data)
    except (OSError, FormatError) as error:
        raise _not_a_root(file, getattr(error, "strerror", None) or "it holds none") from None
    if len(found) != 1 or not found[0].self_issued or not found[0].is_ca:
        raise _not_a_root(file, "not one self-issued CA certificate alone")
    return TrustAnchor.insecure_test_root(found[0])


def _not_a_root(file: Path, why: str) -> ConfigError:
    return ConfigError(
        "test-root",
        f"not a root certificate: {why}",
        where=str(file),
        mend="give the file of the test root that you made, with nothing else in it",
    )


def _suppliers(settings: Settings, connect: Callable[[str], Handler]) -> list[Supplier]:
    key = upstream_key(settings)
    return [supplier(url, connect, api_key=key) for url in settings.upstream]


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """A service, ready to answer."""

    settings: Settings
    store: Store
    upstream: Upstream
    service: PccsService
    handle: Handler
    refresher: Refresher
    tokens: Tokens

    def __repr__(self) -> str:
        return "<Parts>"


@contextmanager
def assembled(settings: Settings, log: RequestLog) -> Iterator[Parts]:
    """The parts, for as long as the block runs. Raises `ConfigError`, `Unavailable`."""
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(settings.database_url))
        if store.database.file is not None:
            log.event("debug", "store", place=store.place)
        network = stack.enter_context(
            Network(
                ca=settings.upstream_ca, limits=UPSTREAM_LIMITS, environ=environment_of(settings)
            )
        )
        upstream = Upstream(
            _suppliers(settings, network.handler),
            store,
            anchor=anchor_of(settings),
            report=lambda incident: _log_incident(log, incident),
        )
        service = PccsService(
            store,
            upstream,
            mode=Mode(settings.mode.upper()),
            expired=Expired(settings.expired),
            imports=lambda body, version: _import(store, upstream, body, version),
        )
        tokens = tokens_of(settings)
        yield Parts(
            settings=settings,
            store=store,
            upstream=upstream,
            service=service,
            handle=pccs_handler(
                service,
                authorise=tokens.check,
                max_body=settings.max_body,
                report=lambda error: log.failed("request", error),
            ),
            refresher=Refresher(
                service, seed=secrets.token_bytes(16), report=lambda done: _log_round(log, done)
            ),
            tokens=tokens,
        )


def environment_of(
    settings: Settings, environ: Mapping[str, str] = os.environ
) -> Mapping[str, str]:
    """The environment that upstream's network sees: the proxy of the settings wins."""
    if settings.proxy is None:
        return environ
    proxies = {"https_proxy": settings.proxy, "http_proxy": settings.proxy}
    return {**environ, **proxies}


def _import(store: Store, upstream: Upstream, body: bytes, version: int) -> None:
    """Import a bundle, all or nothing."""
    from dcap.pccs.transfer.platform_collaterals import (  # noqa: PLC0415 - few import
        import_platform_collaterals,
    )

    import_platform_collaterals(
        store,
        body,
        at=upstream.clock(),
        anchor=upstream.anchor,
        version=4 if version > 3 else 3,
    )


def _log_incident(log: RequestLog, incident: Incident) -> None:
    log.event(
        "warning",
        "upstream",
        supplier=incident.supplier,
        about=incident.about,
        cause=incident.cause,
        why=incident.what,
    )


def _log_round(log: RequestLog, done: Round) -> None:
    for key, failure in done.failed.items():
        log.event("warning", "not renewed", item=key.text, cause=failure.cause)
    for key in done.dropped:
        log.event("warning", "no longer proves", item=key.text)
    if done.renewed:
        log.event("info", "renewed", items=len(done.renewed))
