"""One forged platform: what its PCK certificate says about it, and the SGX extension that says it.

A `Platform` is only values (PPID, FMSPC, SVNs, flags); `Pck` is the certificate for it together
with its key and chain. Signing it is the job of `World.pck`. Values are not checked against each
other: a platform may claim a CPUSVN unlike its components.

Source: Intel SGX PCK Certificate and CRL Profile Specification 1.5, section 1.3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import der
from .certificates import Extension, Issued

SGX_EXTENSIONS = "1.2.840.113741.1.13.1"

FMSPC = bytes.fromhex("90C06F000000")
PCEID = bytes.fromhex("0000")
COMPONENTS = (4, 4, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0)
PCESVN = 13
PPID = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
PLATFORM_INSTANCE_ID = bytes.fromhex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf")

STANDARD = 0
SCALABLE = 1
SCALABLE_WITH_INTEGRITY = 2


@dataclass(frozen=True)
class Platform:
    """The facts in the SGX extension; `scalable` ones (.6, .7) only a Platform CA certifies."""

    fmspc: bytes = FMSPC
    pceid: bytes = PCEID
    components: Sequence[int] = COMPONENTS
    pcesvn: int = PCESVN
    cpusvn: bytes = bytes(COMPONENTS)
    ppid: bytes = PPID
    sgx_type: int = STANDARD
    platform_instance_id: bytes | None = None
    dynamic_platform: bool | None = None
    cached_keys: bool | None = None
    smt_enabled: bool | None = None

    def extension(self) -> Extension:
        """The SGX extension that states all this."""
        return Extension(SGX_EXTENSIONS, self.encode())

    def encode(self) -> bytes:
        """DER of the extension's value; a member that is None is left out."""
        members = [
            _member("1", der.octets(self.ppid)),
            _member("2", self._tcb()),
            _member("3", der.octets(self.pceid)),
            _member("4", der.octets(self.fmspc)),
            _member("5", der.enumerated(self.sgx_type)),
        ]
        if self.platform_instance_id is not None:
            members.append(_member("6", der.octets(self.platform_instance_id)))
        flags = (self.dynamic_platform, self.cached_keys, self.smt_enabled)
        settings = [
            _member(f"7.{place}", der.boolean(flag))
            for place, flag in enumerate(flags, start=1)
            if flag is not None
        ]
        if settings:
            members.append(_member("7", der.sequence_of(settings)))
        return der.sequence_of(members)

    def _tcb(self) -> bytes:
        components = [
            _member(f"2.{place}", der.integer(svn))
            for place, svn in enumerate(self.components, start=1)
        ]
        return der.sequence(
            *components,
            _member("2.17", der.integer(self.pcesvn)),
            _member("2.18", der.octets(self.cpusvn)),
        )


@dataclass(frozen=True)
class Pck(Issued):
    """A PCK certificate with its key, the platform it describes and the chain up to the root."""

    platform: Platform
    ca: str
    chain: tuple[Issued, ...]

    @property
    def chain_pem(self) -> bytes:
        """Leaf, intermediate and root in PEM, in that order."""
        return self.pem + b"".join(authority.pem for authority in self.chain)

    @property
    def fmspc(self) -> bytes:
        """FMSPC in the certificate, 6 bytes."""
        return self.platform.fmspc

    @property
    def pceid(self) -> bytes:
        """PCEID in the certificate, 2 bytes."""
        return self.platform.pceid


def _member(suffix: str, value: bytes) -> bytes:
    return der.sequence(der.oid(f"{SGX_EXTENSIONS}.{suffix}"), value)
