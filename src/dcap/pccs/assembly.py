"""The parts of a running service, put together from its settings. Nothing listens yet.

    prepare(settings, at=now, show=print)    # the first start: folder, TLS, tokens, database
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
from typing import TYPE_CHECKING, Final

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
from dcap.pccs.suppliers import Supplier, is_intel, is_pcs, is_plain, supplier
from dcap.pccs.trust import Forged
from dcap.pccs.trust_root import hold_to
from dcap.pccs.upstream import Incident, Upstream
from dcap.sources.endpoint import origin_of
from dcap.transport import Limits, Network
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor

if TYPE_CHECKING:
    from dcap.pccs.transfer.report import Report

#: Shorter than the patience of who asks: one upstream may fail, and the next still answer in time.
UPSTREAM_LIMITS: Final = Limits(connect=4, read=8, total=10, attempts=2)
#: Far more than one certificate.
_MAX_ROOT: Final = 64 * 1024
#: Of what an import left out, so many pieces are logged by name, cut to so many characters.
_LISTED: Final = 20
_LONGEST: Final = 120


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What a start made."""

    tokens: tuple[Role, ...]
    made_certificate: bool


def tokens_of(settings: Settings, report: Callable[[ConfigError], None] = lambda _: None) -> Tokens:
    """The tokens of a service. `report` is told when their file cannot be read any more."""
    return Tokens(
        settings.tokens_file,
        user=settings.user_token_hash,
        admin=settings.admin_token_hash,
        report=report,
    )


def prepare(settings: Settings, *, at: datetime, show: Callable[[Role, str], None]) -> Prepared:
    """Make what is missing, and check what is there. Raises `ConfigError`, `Unavailable`.

    `show` is told each token that is made, before it is kept: that is the only time.
    """
    make_folder(settings.data)
    made = settings.tls_certificate is None and tls.make_missing(
        settings.certificate_file, settings.key_file, at=at
    )
    tls.server_context(settings.certificate_file, settings.key_file, client_ca=settings.client_ca)
    anchor_of(settings)
    suppliers_of(settings, _no_network)
    tokens = tokens_of(settings)
    tokens.all()
    # Before tokens are made, and by one process before there are several.
    with Store.open(settings.database_url) as store:
        hold_to(store, anchor_of(settings))
    return Prepared(tokens=tokens.make_missing(at=at, show=show), made_certificate=made)


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


def suppliers_of(settings: Settings, connect: Callable[[str], Handler]) -> list[Supplier]:
    """The upstreams, in order. The key goes to Intel's, or to the only one that could want it.

    Raises `ConfigError` (`source-url`, `upstream-plain`, `upstream-key`).
    """
    key = upstream_key(settings)
    plain = [url for url in settings.upstream if is_plain(url)]
    if plain and (key is not None or not settings.insecure_upstream):
        raise _is_plain(plain[0], has_key=key is not None)
    services = [url for url in settings.upstream if is_pcs(url)]
    takers = [url for url in services if is_intel(url)] or services
    if key is not None and len(takers) > 1 and not is_intel(takers[0]):
        raise ConfigError(
            "upstream-key",
            "the subscription key is one service's, and several upstreams could be that service",
            where="upstream",
            mend="name one of them alone, or Intel's own beside them: it is then sent there alone",
        )
    return [_supplier(url, connect, key if url in takers else None) for url in settings.upstream]


def _supplier(url: str, connect: Callable[[str], Handler], key: str | None) -> Supplier:
    """One upstream; what is wrong with its URL is said of the setting."""
    try:
        return supplier(url, connect, api_key=key)
    except ConfigError as error:
        error.where = f"upstream, {error.where}" if error.where else "upstream"
        raise


def _is_plain(url: str, *, has_key: bool) -> ConfigError:
    return ConfigError(
        "upstream-plain",
        "an upstream is asked without TLS: whoever is on the way reads PPIDs and the subscription key",
        where=origin_of(url.partition("+")[2] or url),
        mend="write https://; the key is never sent so"
        if has_key
        else "write https://; where nobody is on the way, insecure_upstream = true lets it be",
    )


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
        hold_to(store, anchor_of(settings))
        if store.database.file is not None:
            log.event("debug", "store", place=store.place)
        network = stack.enter_context(
            Network(
                ca=settings.upstream_ca, limits=UPSTREAM_LIMITS, environ=environment_of(settings)
            )
        )
        upstream = Upstream(
            suppliers_of(settings, network.handler),
            store,
            anchor=anchor_of(settings),
            report=lambda incident: _log_incident(log, incident),
        )
        service = PccsService(
            store,
            upstream,
            mode=Mode(settings.mode.upper()),
            expired=Expired(settings.expired),
            imports=lambda body, version: _import(store, upstream, log, body, version),
        )
        tokens = tokens_of(settings, lambda error: log.failed("tokens", error))
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


def _import(
    store: Store, upstream: Upstream, log: RequestLog, body: bytes, version: int
) -> "Report":
    """Import a bundle, all or nothing. The log says what was refused, and what was left out."""
    from dcap.pccs.transfer.platform_collaterals import (  # noqa: PLC0415 - few import
        import_platform_collaterals,
    )

    try:
        report = import_platform_collaterals(
            store,
            body,
            at=upstream.clock(),
            anchor=upstream.anchor,
            version=4 if version > 3 else 3,
        )
    except (FormatError, Forged) as error:
        log.event("warning", "import refused", code=error.code, why=error.what, where=error.where)
        raise
    for what, number in report.tally.items():
        log.event("warning", "import left out", pieces=what, number=number)
    for one in report.left_out[:_LISTED]:
        if one.name:
            log.event("warning", "not kept", item=one.name[:_LONGEST], why=one.what or one.reason)
    return report


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
    for key in done.forgotten:
        log.event("info", "superseded", item=key.text)
    if done.early:
        log.event(
            "error",
            "not served: issued in the future; is the clock right?",
            items=len(done.early),
            first=done.early[0].text,
        )
    if done.renewed:
        log.event("info", "renewed", items=len(done.renewed))
