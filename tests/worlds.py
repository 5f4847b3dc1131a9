"""What tests stand on: real vectors where they lie, and simulated worlds as `Collateral`.

Not a home for assertions: each test states its own.
"""

import json
import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.signed_json import SignedJson
from dcap.sources.directory import read_collateral
from dcap.verification import TrustAnchor
from departures import World

ROOT = Path(__file__).resolve().parent.parent
AT = datetime(2026, 1, 1, tzinfo=UTC)


def vectors_path() -> Path:
    """Where the real vectors lie: $DCAP_VECTORS, or the folder beside the checkout."""
    return Path(os.environ.get("DCAP_VECTORS") or ROOT.parent / "shared" / "vectors")


@cache
def vector_names(*kinds: str) -> tuple[str, ...]:
    """The vectors of these kinds (all, where none is named); empty where the folder is absent."""
    path = vectors_path()
    if not path.is_dir():
        return ()
    return tuple(
        sorted(
            folder.name
            for folder in path.iterdir()
            if (folder / "manifest.json").is_file()
            and folder.name != "_pool"
            and (not kinds or Vector(folder.name).manifest["kind"] in kinds)
        )
    )


def each_vector(*kinds: str) -> pytest.MarkDecorator:
    """Parametrise a test over vectors; one skipped case that says why, where there are none."""
    names = vector_names(*kinds)
    if not names:
        reason = f"no vectors at {vectors_path()} (set DCAP_VECTORS)"
        skipped = pytest.param("absent", marks=pytest.mark.skip(reason=reason))
        return pytest.mark.parametrize("vector", [skipped])
    return pytest.mark.parametrize("vector", [Vector(name) for name in names], ids=str)


class Vector:
    """One folder of the vectors."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = vectors_path() / name

    def __str__(self) -> str:
        return self.name

    @property
    def manifest(self) -> dict[str, Any]:
        """The folder's manifest."""
        return dict(json.loads((self.path / "manifest.json").read_bytes()))

    @property
    def quote(self) -> bytes:
        """The quote's bytes."""
        return (self.path / "quote.bin").read_bytes()

    @property
    def collateral(self) -> Collateral:
        """The collateral beside it."""
        return read_collateral(self.path)

    @property
    def at(self) -> datetime:
        """The instant at which its verdict holds."""
        return datetime.fromtimestamp(int((self.path / "at_unix").read_text()), UTC)

    @property
    def has_collateral(self) -> bool:
        """Whether there is anything to verify it with."""
        return (self.path / "at_unix").exists()

    @property
    def anchor(self) -> TrustAnchor:
        """The root certificate that lies beside it, as an anchor."""
        root = (self.path / "root_ca.pem").read_bytes()
        return TrustAnchor.insecure_test_root(Certificate.parse_chain(root)[0])


def need_vector(name: str) -> Vector:
    """One vector by name; skips, saying so, where it is absent."""
    vector = Vector(name)
    if not vector.path.is_dir():
        pytest.skip(f"no vector {name} at {vectors_path()} (set DCAP_VECTORS)")
    return vector


def collateral_of(pieces: dict[str, bytes], **beside: bytes) -> Collateral:
    """Pieces (bodies and signatures apart) as the collateral they make."""
    rest = {k: v for k, v in pieces.items() if not k.startswith(("tcb_info", "qe_identity"))}
    return Collateral(
        tcb_info_issuer_chain=pieces["tcb_info_issuer_chain"],
        tcb_info=SignedJson(pieces["tcb_info"], pieces["tcb_info_signature"]).envelope(TCB_INFO),
        qe_identity_issuer_chain=pieces["qe_identity_issuer_chain"],
        qe_identity=SignedJson(pieces["qe_identity"], pieces["qe_identity_signature"]).envelope(
            ENCLAVE_IDENTITY
        ),
        **rest,
        **beside,
    )


def anchor_of(world: World) -> TrustAnchor:
    """The simulated world's root, as the anchor of a test."""
    return TrustAnchor.insecure_test_root(Certificate.parse(world.root.der))
