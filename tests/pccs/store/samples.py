"""Values to keep: small, alike, and each with a number of its own. Nothing in them is proven."""

import hashlib
from datetime import UTC, datetime, timedelta

from dcap.pccs.items import (
    AppraisalPolicy,
    Holding,
    Item,
    Key,
    PckCertificate,
    Platform,
    RawTcb,
    Registration,
    RootCrlKey,
    State,
)

AT = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
CHAIN = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
FMSPC = bytes.fromhex("00906ED50000")
CPU_SVN, PCE_SVN = "0A" * 16, "0B00"


def item(key: Key | None = None, body: bytes = b"\x00body\xff", *, number: int | None = 17) -> Item:
    """An item with everything in it."""
    return Item(
        key=key or RootCrlKey(),
        body=body,
        issuer_chain=CHAIN,
        issued=AT,
        expires=AT + timedelta(days=30),
        number=number,
        fetched_at=AT,
        origin="Intel PCS",
    )


def qe_id(number: int) -> str:
    """The QE id of a machine: as random as a real one."""
    return hashlib.sha256(b"%d" % number).hexdigest()[:32].upper()


def tcbm(number: int) -> str:
    """The TCB of a certificate."""
    return f"{number:036X}"


def holding(
    number: int = 0,
    *,
    certificates: int = 3,
    mark: str = "",
    fmspc: bytes = FMSPC,
    reached: int = 1,
    chain: bytes = CHAIN,
) -> Holding:
    """A machine with some certificates, of which its raw TCB reaches one. `mark` stands in each."""
    return Holding(
        platform=Platform(
            qe_id=qe_id(number),
            pce_id="0000",
            fmspc=fmspc,
            ca="PLATFORM",
            encrypted_ppid=bytes(range(256)) + bytes(128),
            manifest=b"manifest \x00",
        ),
        certificates=tuple(
            PckCertificate(
                tcbm=tcbm(place),
                pem=f"certificate {place} of machine {number} {mark}".encode(),
                components=bytes([place] * 16),
                pce_svn=11,
            )
            for place in range(certificates)
        ),
        issuer_chain=chain,
        raw_tcbs=(RawTcb(cpu_svn=CPU_SVN, pce_svn=PCE_SVN, tcbm=tcbm(reached)),),
    )


def registration(number: int = 0, *, state: State = "NEW") -> Registration:
    """A machine that waits, each a second after the one before."""
    return Registration(
        qe_id=qe_id(number),
        pce_id="0000",
        cpu_svn=CPU_SVN,
        pce_svn=PCE_SVN,
        encrypted_ppid=bytes(384),
        state=state,
        created=AT + timedelta(seconds=number),
    )


def policy(name: str = "a", *, is_default: bool = True, fmspc: bytes = FMSPC) -> AppraisalPolicy:
    """An appraisal policy."""
    return AppraisalPolicy(
        id=hashlib.sha384(name.encode()).hexdigest(),
        type=1,
        policy=f"eyJ.{name}.é",
        is_default=is_default,
        fmspc=fmspc,
    )
