"""Any `libdcap_quoteprov.so`, used safely: in a process of its own, each call with a time limit.

    with Plugin(Path("/usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1")) as plugin:
        found = plugin.collateral("SGX", fmspc, "platform")

What aborts, crashes, hangs or exits there is an error here (`plugin_errors`), and the next call has a
new process. Outputs are claims: their form is checked, not one byte is proven. One call at a time;
threads wait for each other. The plugin is silent unless somebody listens: what it logs, and what it
prints, goes to `hear`, else to Python's logger `dcap.plugin`, without what names a machine.

Not here: which plugin (`discovery`), its answers as a source (`sources.plugin`), the process itself
(`plugin_process`). Source: `quote-provider.md` §0, §2, §3.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

import msgspec

from dcap.qpl import plugin_errors as errors
from dcap.qpl.abi import (
    ALL_CACHES,
    COLLATERAL_VERSIONS,
    CPU_SVN_SIZE,
    LEVELS,
    PIECES,
    Kind,
    Level,
)
from dcap.qpl.plugin_child import Child
from dcap.qpl.plugin_messages import Answer, Call, Fault, Line, Loaded

Tee: TypeAlias = Literal["SGX", "TDX"]
#: Takes what a plugin said: how grave, and the words.
Hear: TypeAlias = Callable[[Level, str], None]
LOGGER: Final = "dcap.plugin"


class PluginLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: to load it, for one call, and until it is one's turn."""

    load: float = 10.0
    call: float = 30.0
    turn: float = 60.0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Which machine a PCK certificate is asked for. `pce_id` is a number, its wire little-endian.

    Its text never shows it.
    """

    qe_id: bytes = bytes(16)
    cpu_svn: bytes = bytes(16)
    pce_svn: int = 0
    pce_id: int = 0
    encrypted_ppid: bytes | None = None

    def __repr__(self) -> str:
        return "<Machine>"


class QuoteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A PCK certificate with its issuers, PEM, leaf first; and the TCB it is for."""

    chain: bytes
    cpu_svn: bytes
    pce_svn: int


class CollateralPieces(msgspec.Struct, frozen=True, kw_only=True):
    """A set, each piece as it was given, but for the NULs behind text. `version` as in `abi`."""

    version: int
    pieces: dict[str, bytes]


class IdentityPieces(msgspec.Struct, frozen=True, kw_only=True):
    """An enclave's identity, and its issuers in PEM."""

    identity: bytes
    issuer_chain: bytes


class RevocationPieces(msgspec.Struct, frozen=True, kw_only=True):
    """What Azure's older function gives: a TCB info and its issuers; each list and its issuers."""

    tcb_info: bytes
    tcb_issuer_chain: bytes
    crls: tuple[tuple[bytes, bytes], ...]


class Plugin:
    """One library. Nothing is loaded before the first call. Raises `CollateralError`s alone."""

    def __init__(
        self,
        path: Path,
        *,
        environ: Mapping[str, str] | None = None,
        limits: PluginLimits = PluginLimits(),  # noqa: B008 - frozen
        hear: Hear | None = None,
        level: Level | None = None,
    ) -> None:
        self.path = str(path.absolute())
        self.limits = limits
        self._environ = dict(os.environ if environ is None else environ)
        self._hear = hear or _log
        self._level: Level = level or ("info" if hear else _wanted())
        self._lock = threading.Lock()
        self._held: list[Child] = []  # the one that lives, for the finalizer too
        self._loaded: Loaded | None = None
        self._finalizer = weakref.finalize(self, _end_all, self._held)
        self._owner = os.getpid()

    def __repr__(self) -> str:
        return f"<Plugin {self.path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let it clean up, and end its process. A later call starts another."""
        with self._lock:
            while self._held:
                self._held.pop().end(politely=True)

    @property
    def about(self) -> Loaded:
        """What it is: its kind, its exports, what its initialization returned."""
        self._take_turn()
        try:
            self._child()
            assert self._loaded is not None
            return self._loaded
        finally:
            self._lock.release()

    @property
    def kind(self) -> Kind:
        """Whose it is."""
        return self.about.kind

    # ── calls ───────────────────────────────────────────────────────────────────────────────────

    def quote_config(self, machine: Machine) -> QuoteConfig:
        """The PCK certificate of a machine."""
        call = Call(
            name="sgx_ql_get_quote_config",
            qe_id=machine.qe_id,
            cpu_svn=machine.cpu_svn,
            pce_svn=machine.pce_svn,
            pce_id=machine.pce_id,
            encrypted_ppid=machine.encrypted_ppid,
        )
        answer = self._ask(call, ("cert_data", "cert_cpu_svn"), ("cert_pce_isv_svn",))
        cpu_svn, pce_svn = answer.outputs["cert_cpu_svn"], answer.numbers["cert_pce_isv_svn"]
        if len(cpu_svn) != CPU_SVN_SIZE or not 0 <= pce_svn <= 0xFFFF:
            raise errors.garbage(self.path, call.name)
        return QuoteConfig(
            chain=self._text(answer, "cert_data", call),
            cpu_svn=cpu_svn,
            pce_svn=pce_svn,
        )

    def collateral(
        self, tee: Tee, fmspc: bytes, ca: str, *, parameter: bytes | None = None
    ) -> CollateralPieces:
        """A set; with `parameter` (which may be empty) by the function that takes one."""
        name = f"{tee.lower()}_ql_get_quote_verification_collateral"
        if parameter is not None:
            name += "_with_params"
        call = Call(name=name, fmspc=fmspc, ca=ca.encode(), parameter=parameter or None)
        answer = self._ask(call, PIECES, ("version",))
        if answer.numbers["version"] not in COLLATERAL_VERSIONS:
            raise errors.garbage(self.path, call.name)
        pieces = {
            piece: self._list(answer, piece, call)
            if piece.endswith("_crl")
            else self._text(answer, piece, call)
            for piece in PIECES
        }
        return CollateralPieces(version=answer.numbers["version"], pieces=pieces)

    def qve_identity(self) -> IdentityPieces:
        """The identity of the QvE."""
        return self._identity(Call(name="sgx_ql_get_qve_identity"))

    def qe_identity_info(self) -> IdentityPieces:
        """The identity of the QE, by Azure's older function."""
        return self._identity(Call(name="sgx_get_qe_identity_info"))

    def root_ca_crl(self) -> bytes:
        """The root's list."""
        call = Call(name="sgx_ql_get_root_ca_crl")
        return self._list(self._ask(call, ("crl",)), "crl", call)

    def policy(self, fmspc: bytes) -> bytes:
        """The default appraisal policy for a platform."""
        call = Call(name="tee_get_default_platform_policy", fmspc=fmspc)
        return self._text(self._ask(call, ("policy",)), "policy", call)

    def clear_cache(self, caches: int = ALL_CACHES) -> None:
        """Delete what it has kept, of these kinds (`abi.CACHES`)."""
        self._ask(Call(name="sgx_qpl_clear_cache", mask=caches))

    def revocation_info(self, fmspc: bytes, urls: Sequence[str]) -> RevocationPieces:
        """A TCB info, and the lists of these distribution points, by Azure's older function."""
        call = Call(
            name="sgx_ql_get_revocation_info",
            fmspc=fmspc,
            urls=tuple(url.encode() for url in urls),
        )
        listed = [(f"crl_{number}", f"crl_issuer_chain_{number}") for number in range(len(urls))]
        answer = self._ask(call, ("tcb_info", "tcb_issuer_chain", *sum(listed, ())))
        return RevocationPieces(
            tcb_info=self._text(answer, "tcb_info", call),
            tcb_issuer_chain=self._text(answer, "tcb_issuer_chain", call),
            crls=tuple(
                (self._list(answer, crl, call), self._text(answer, chain, call))
                for crl, chain in listed
            ),
        )

    def _identity(self, call: Call) -> IdentityPieces:
        answer = self._ask(call, ("identity", "issuer_chain"))
        return IdentityPieces(
            identity=self._text(answer, "identity", call),
            issuer_chain=self._text(answer, "issuer_chain", call),
        )

    # ── the process ─────────────────────────────────────────────────────────────────────────────

    def _ask(self, call: Call, outputs: Iterable[str] = (), numbers: Iterable[str] = ()) -> Answer:
        """One call that succeeded, with all its outputs. Raises what `plugin_errors` makes."""
        self._take_turn()
        try:
            child = self._child()
            try:
                answer = child.ask(call, self.limits.call)
            except BaseException:
                self._held.clear()
                raise
            told = [*self._told(answer.lines), *_printed(child.noise())]
        finally:
            self._lock.release()
        self._tell(told)
        if answer.missing:
            raise errors.no_function(self.path, call.name)
        if answer.code:
            last = next((text for level, text in reversed(told) if level == "error"), "")
            raise errors.refused(self.path, call.name, answer.code, errors.short(last))
        if answer.fault is not None:
            raise errors.faulty(self.path, call.name, answer.fault)
        if set(outputs) != set(answer.outputs) or set(numbers) != set(answer.numbers):
            raise errors.garbage(self.path, call.name)
        return answer

    def _take_turn(self) -> None:
        if os.getpid() != self._owner:  # a fork: the process is its parent's, and so is the lock
            self._lock = threading.Lock()
            self._owner = os.getpid()
            while self._held:
                self._held.pop().end()
        if not self._lock.acquire(timeout=self.limits.turn):
            raise errors.busy(self.path, self.limits.turn)

    def _child(self) -> Child:
        """The process that lives, or a new one."""
        if self._held and self._held[0].has_ended:
            self._held.pop().end()
        if not self._held:
            child = Child(self.path, self._environ, self._level)
            self._loaded = child.start(self.limits.load)
            self._held.append(child)
            self._tell([*self._told(self._loaded.lines), *_printed(child.noise())])
        return self._held[0]

    def _told(self, lines: Iterable[Line]) -> "list[tuple[Level, str]]":
        logger = self._loaded.logger if self._loaded else ""
        levels = {number: level for level, number in LEVELS.get(logger, {}).items()}
        return [
            (levels.get(line.level, "info"), errors.redact(line.text.decode("utf-8", "replace")))
            for line in lines
        ]

    def _tell(self, told: "Iterable[tuple[Level, str]]") -> None:
        for level, text in told:
            self._hear(level, text)

    # ── outputs ─────────────────────────────────────────────────────────────────────────────────

    def _text(self, answer: Answer, member: str, call: Call) -> bytes:
        """Text ends before its NULs."""
        return self._kept(answer.outputs[member].rstrip(b"\0"), member, call)

    def _list(self, answer: Answer, member: str, call: Call) -> bytes:
        """A list in DER says itself how long it is: it may end in a zero of its own."""
        found = answer.outputs[member]
        size = _der_size(found)
        if size is not None and size <= len(found) and not found[size:].strip(b"\0"):
            return found[:size]
        return self._kept(found.rstrip(b"\0"), member, call)

    def _kept(self, found: bytes, member: str, call: Call) -> bytes:
        if not found:
            raise errors.faulty(self.path, call.name, Fault("null", member))
        return found


def _der_size(found: bytes) -> int | None:
    """The size of a DER sequence, by its head; none where it is not one of two or more bytes of it."""
    if len(found) < 4 or found[0] != 0x30 or not 0x81 <= found[1] <= 0x83:
        return None
    width = found[1] - 0x80
    return 2 + width + int.from_bytes(found[2 : 2 + width], "big")


def _end_all(held: list[Child]) -> None:
    """When the plugin is forgotten, or Python ends."""
    while held:
        held.pop().end()


def _printed(lines: list[str]) -> "list[tuple[Level, str]]":
    return [("info", errors.redact(line)) for line in lines]


def _wanted() -> Level:
    """Whether anybody hears more than errors."""
    import logging  # noqa: PLC0415 - only who loads plugins

    return "info" if logging.getLogger(LOGGER).isEnabledFor(logging.INFO) else "error"


def _log(level: Level, text: str) -> None:
    import logging  # noqa: PLC0415 - only who loads plugins

    logger = logging.getLogger(LOGGER)
    if not logger.hasHandlers():
        return  # a library is silent where nobody has asked it to speak
    logger.log(
        {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}[level],
        "%s",
        text,
    )
