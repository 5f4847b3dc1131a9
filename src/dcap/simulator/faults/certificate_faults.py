"""Step 3: the PCK chain in the quote: absent, misshapen, forged, revoked, or of another CA.

Source: `verification.md` §2, §4, §9 (8, 12, 16, 22, 23); users' tests: revoked PCK, Processor
against Platform CA, encrypted-PPID quotes.
"""

from collections.abc import Callable
from datetime import timedelta

import msgspec

from dcap.formats import der, pem
from dcap.formats.certificate import SGX_EXTENSION, Extension
from dcap.formats.pck_extensions import PckExtensions
from dcap.simulator.faults.collateral_faults import ELSEWHERE, chain_faults, pck_ca
from dcap.simulator.faults.fault import SINGLE, TDX, Fault
from dcap.simulator.faults.forgery import chain_of, extensions_of, twin, twin_pem
from dcap.simulator.faults.scene import Case, Scene
from dcap.simulator.intel import Authority, Revocation

_DAY = timedelta(days=1)


def _with_chain(scene: Scene, above: bytes) -> Case:
    """The genuine leaf under another CA and root."""
    return scene.case(quote=scene.certified(scene.machine.pck().pem + above))


def _with_leaf(change: Callable[[Scene], dict[str, object]]) -> Callable[[Scene], Case]:
    """A leaf of the genuine key, different in something, under the genuine CA."""

    def departure(scene: Scene) -> Case:
        ca = pck_ca(scene)
        leaf = twin_pem(scene.machine.pck(), ca, **change(scene))
        return scene.case(quote=scene.certified(chain_of(leaf, ca, scene.intel.root)))

    return departure


def _with_extension(
    change: Callable[[PckExtensions], PckExtensions | bytes],
) -> Callable[[Scene], Case]:
    """A leaf whose SGX extension says something else."""

    def extensions(scene: Scene) -> dict[str, object]:
        pck = scene.machine.pck()
        content = change(PckExtensions.parse(pck.certificate.sgx_extension or b""))
        value = content if isinstance(content, bytes) else content.to_der()
        kept = (e for e in extensions_of(pck) if e.oid != SGX_EXTENSION)
        return {"extensions": (*kept, Extension(SGX_EXTENSION, value))}

    return _with_leaf(extensions)


def _named_only(kind: int, how: str) -> Fault:
    """A quote that names its platform instead of bringing a chain, and no chain beside it."""

    def departure(scene: Scene) -> Case:
        quote = scene.signed(certification=scene.machine.certification(kind))
        return scene.case(quote=quote)

    return Fault(
        f"pck-chain-replaced-by-a-ppid-of-type-{kind}",
        "pck-chain-present",
        f"The quote names its platform by a PPID {how}, and nobody looked its chain up.",
        departure,
    )


def _leaf_under_the_other_ca(scene: Scene) -> Case:
    """Type 4: the chain is completed by the CRL's issuer, who is not the leaf's."""
    other = scene.platform("processor")
    quote = scene.signed(certification=scene.machine.certification(4))
    endorsed = scene.world.collateral(other)
    return scene.case(
        quote=quote,
        pck_crl=endorsed.pck_crl,
        pck_crl_issuer_chain=endorsed.pck_crl_issuer_chain,
    )


def _forged_whole(scene: Scene) -> Case:
    """Quote and collateral of a forger's world, each perfect under the forger's root."""
    return Scene(scene.another_world(), scene.setting).truth()


def _issued_by_the_signer(scene: Scene) -> Case:
    """The TCB signer issues a PCK certificate."""
    signer = scene.intel.tcb_signing
    leaf = twin_pem(
        scene.machine.pck(), signer, signer=signer.key, issuer=signer.certificate.subject
    )
    return scene.case(quote=scene.certified(chain_of(leaf, signer, scene.intel.root)))


def _deep() -> bytes:
    """3,000 elements inside one another."""
    nested = b""
    for _ in range(3000):
        nested = der.sequence(nested)
    return pem.encode(nested, "CERTIFICATE")


def _rest(scene: Scene) -> tuple[Authority, Authority]:
    return pck_ca(scene), scene.intel.root


def _of_the_other_ca(scene: Scene) -> Case:
    """The lists of the CA that did not issue the machine's certificate."""
    other = scene.world.collateral(scene.platform("processor", "other"))
    return scene.case(pck_crl=other.pck_crl, pck_crl_issuer_chain=other.pck_crl_issuer_chain)


def _ca_revoked(scene: Scene) -> Case:
    """The quote's CA certificate is revoked; the CRL comes with a good one of the same CA."""
    ca, root = _rest(scene)
    scene.intel.revoked["root"].append(Revocation(ELSEWHERE, scene.at - _DAY))
    return _with_chain(scene, chain_of(twin(ca, root, serial=ELSEWHERE), root))


def _revoked(scene: Scene) -> Case:
    serial = scene.machine.pck().certificate.serial
    scene.intel.revoked[scene.machine.ca].append(Revocation(serial, scene.at - _DAY))
    return scene.case()


FAULTS = (
    _named_only(1, "in clear"),
    _named_only(2, "under RSA-2048"),
    _named_only(3, "under RSA-3072"),
    *chain_faults("pck-chain", pck_ca, _with_chain, "PCK CA", "PCK chain"),
    Fault("pck-chain-of-3000-elements", "pck-chain-format",
          "The leaf is DER nested 3,000 deep.",
          lambda s: s.case(quote=s.certified(chain_of(_deep(), *_rest(s)))), TDX),
    Fault("pck-chain-with-a-letter-too-many", "pck-chain-format",
          "The base64 of the leaf has a letter too many.",
          lambda s: s.case(quote=s.certified(s.machine.pck_chain().replace(b"MII", b"MIIA", 1)))),
    Fault("pck-chain-of-two-leaves", "pck-chain-roles",
          "A second leaf stands where the CA belongs.",
          lambda s: s.case(quote=s.certified(
              chain_of(s.machine.pck(), s.machine.certificate(7), s.intel.root)))),
    Fault("pck-issued-by-the-tcb-signer", "pck-chain-roles",
          "The TCB signing key, which issues nothing, has issued a PCK certificate.",
          _issued_by_the_signer),
    Fault("forged-world", "pck-chain-root",
          "Quote and collateral are perfect under a root that the forger made.", _forged_whole,
          also=("crl-issuer-chain-root", "tcb-info-chain-root", "qe-identity-chain-root")),
    Fault("pck-by-a-thief", "pck-chain-signature",
          "The leaf is not signed by its CA.",
          _with_leaf(lambda scene: {"signer": scene.key("thief")}), TDX),
    Fault("pck-leaf-beside-the-other-ca", "pck-chain-signature",
          "The quote brings its leaf alone, and the collateral completes it with the other CA.",
          _leaf_under_the_other_ca),
    Fault("pck-not-yet-valid", "pck-chain-validity-start", "The leaf becomes valid tomorrow.",
          _with_leaf(lambda scene: {"not_before": scene.at + _DAY})),
    Fault("pck-extension-empty", "pck-extensions", "The SGX extension says nothing.",
          _with_extension(lambda _: der.sequence())),
    Fault("pck-extension-pcesvn-too-large", "pck-extensions",
          "The PCESVN has more than 16 bits.",
          _with_extension(lambda e: msgspec.structs.replace(e, pce_svn=0x1_0000))),
    Fault("pck-extension-short-fmspc", "pck-extensions", "The FMSPC has five bytes.",
          _with_extension(lambda e: msgspec.structs.replace(e, fmspc=e.fmspc[:5]))),
    Fault("pck-crl-of-the-other-ca", "pck-crl-coverage",
          "The PCK CRL, with its chain, is of the Processor CA, the certificate of the Platform CA.",
          _of_the_other_ca),
    Fault("pck-chain-of-a-revoked-ca", "pck-ca-revocation",
          "The quote brings a revoked certificate of its CA.", _ca_revoked),
    Fault("pck-revoked", "pck-revocation", "Intel has revoked the machine's PCK certificate.",
          _revoked),
    Fault("pck-revoked-single-package", "pck-revocation",
          "Intel has revoked the PCK certificate of a single-package machine.", _revoked, SINGLE),
)  # fmt: skip
