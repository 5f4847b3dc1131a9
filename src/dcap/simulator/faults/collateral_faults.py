"""Step 2: collateral that is unreadable, forged, revoked, or dated in the future.

One row for each way in which a chain, a revocation list or a signed document can be wrong, for each
piece that there is; every row is signed by whoever its sentence says.

Source: `verification.md` §3, §4, §9 (1, 6, 9, 12, 14, 16, 17, 22, 23); the negative vectors.
"""

from collections.abc import Callable
from datetime import timedelta

import msgspec

from dcap.formats.certificate import write_name
from dcap.simulator.faults.fault import SINGLE, TDX, Fault
from dcap.simulator.faults.forgery import (
    chain_of,
    extensions_of,
    list_of,
    spelt_curve,
    twin,
    twin_pem,
)
from dcap.simulator.faults.scene import MEMBERS, Case, Scene
from dcap.simulator.intel import ORGANIZATION, Authority, Intel, Revocation

_DAY = timedelta(days=1)
_ERROR_PAGE = b"<html><body>502 Bad Gateway</body></html>"
#: A serial number that no other certificate of the world has.
ELSEWHERE = 4711
Pick = Callable[[Scene], Authority]


def pck_ca(scene: Scene) -> Authority:
    """The CA of the scene's machine."""
    return scene.intel.pck_ca(scene.machine.ca)


def tcb_signing(scene: Scene) -> Authority:
    """The signer of documents."""
    return scene.intel.tcb_signing


# Chains


def chain_faults(
    name: str, who: Pick, case: Callable[[Scene, bytes], Case], above: str, what: str
) -> tuple[Fault, ...]:
    """What can be wrong with the last but one certificate of a chain, or with the whole of it.

    `case` puts a PEM text of that certificate and the root in its place; `above` is that
    certificate's name, `what` the chain's.
    """

    def with_twin(change: Callable[[Scene], dict[str, object]]) -> Callable[[Scene], Case]:
        def departure(scene: Scene) -> Case:
            root = scene.intel.root
            odd = twin_pem(who(scene), root, **change(scene))
            return case(scene, chain_of(odd, root))

        return departure

    def of_another_root(scene: Scene) -> Case:
        other = scene.another_world().intel.root
        return case(scene, chain_of(twin(who(scene), other), other))

    def turned(scene: Scene) -> dict[str, object]:
        """A CA that may not issue, an end certificate that may."""
        is_ca = not who(scene).certificate.is_ca
        return {"extensions": extensions_of(who(scene), is_ca=is_ca, path_length=None)}

    def plain(change: Callable[[Scene], bytes]) -> Callable[[Scene], Case]:
        return lambda scene: case(scene, change(scene))

    return (
        Fault(f"{name}-cut-off", f"{name}-format",
              f"The {what} ends within a certificate.",
              plain(lambda scene: who(scene).pem[:400])),
        Fault(f"{name}-spells-its-curve", f"{name}-format",
              f"A key in the {what} spells P-256 out instead of naming it (CVE-2020-0601).",
              with_twin(lambda s: {"public_key_info": spelt_curve(who(s).key.public_key)})),
        Fault(f"{name}-is-the-root-alone", f"{name}-roles",
              f"The {what} holds the root and nothing else.",
              plain(lambda scene: scene.intel.root.pem)),
        Fault(f"{name}-has-one-too-many", f"{name}-roles",
              f"The {what} holds one certificate twice.",
              plain(lambda s: chain_of(who(s), who(s), s.intel.root))),
        Fault(f"{name}-may-do-what-it-must-not", f"{name}-roles",
              f"The {above} in the {what} is a CA, or is none, contrary to its role.",
              with_twin(turned)),
        Fault(f"{name}-of-another-root", f"{name}-root",
              f"The {what} ends in a root of the same name and another key.", of_another_root),
        Fault(f"{name}-by-a-thief", f"{name}-signature",
              f"The {above} in the {what} is not signed by the root.",
              with_twin(lambda scene: {"signer": scene.key("thief")})),
        Fault(f"{name}-of-another-issuer", f"{name}-signature",
              f"The {above} in the {what} names an issuer that is not the root.",
              with_twin(lambda _: {"issuer": write_name("Intel SGX Other CA", ORGANIZATION)})),
        Fault(f"{name}-not-yet-valid", f"{name}-validity-start",
              f"The {above} in the {what} becomes valid tomorrow.",
              with_twin(lambda scene: {"not_before": scene.at + _DAY})),
    )  # fmt: skip


def _piece(piece: str) -> Callable[[Scene, bytes], Case]:
    """A case in which one piece of collateral has other bytes."""

    def case(scene: Scene, content: bytes) -> Case:
        return scene.with_piece(piece, content)

    return case


# Revocation lists


def _crl_faults(name: str, piece: str, what: str) -> tuple[Fault, ...]:
    def with_list(change: Callable[[Scene], dict[str, object]]) -> Callable[[Scene], Case]:
        return lambda scene: scene.with_piece(piece, list_of(scene, piece, **change(scene)))

    def plain(change: Callable[[Scene], bytes]) -> Callable[[Scene], Case]:
        return lambda scene: scene.with_piece(piece, change(scene))

    def of_another_ca(scene: Scene) -> bytes:
        if piece == "root_ca_crl":
            return scene.intel.pck_crl(scene.machine.ca, scene.at)
        return scene.intel.pck_crl("processor", scene.at)

    def altered(scene: Scene) -> bytes:
        genuine = list_of(scene, piece)
        return genuine[:-1] + bytes((genuine[-1] ^ 1,))

    stranger = write_name("Intel SGX PCK Other CA", ORGANIZATION)
    return (
        Fault(f"{name}-is-missing", f"{name}-format", f"The {what} is empty.", plain(lambda _: b"")),
        Fault(f"{name}-is-an-error-page", f"{name}-format",
              f"An error page was saved as the {what}.", plain(lambda _: _ERROR_PAGE)),
        Fault(f"{name}-of-another-name", f"{name}-issuer",
              f"The {what} names an issuer that is not the CA, though the CA signed it.",
              with_list(lambda _: {"issuer": stranger})),
        Fault(f"{name}-of-another-key", f"{name}-issuer",
              f"The {what} names another key of the CA.",
              with_list(lambda _: {"authority_key_id": bytes(20)})),
        Fault(f"{name}-of-another-ca", f"{name}-issuer",
              f"Another CA's list stands where the {what} belongs.", plain(of_another_ca),
              also=(f"{name}-signature",)),
        Fault(f"{name}-without-a-number", f"{name}-extensions", f"The {what} has no CRL number.",
              with_list(lambda _: {"crl_number": None})),
        Fault(f"{name}-without-a-key-id", f"{name}-extensions",
              f"The {what} has no authority key identifier.",
              with_list(lambda _: {"authority_key_id": None})),
        Fault(f"{name}-without-an-end", f"{name}-extensions",
              f"The {what} has no next update: it would be good for ever.",
              with_list(lambda _: {"next_update": None}), also=(f"{name}-expiry",)),
        Fault(f"{name}-by-a-thief", f"{name}-signature",
              f"The {what} is signed by nobody's key.",
              with_list(lambda scene: {"signer": scene.key("thief")})),
        Fault(f"{name}-altered", f"{name}-signature",
              f"One bit of the signature of the {what} is turned.", plain(altered)),
        Fault(f"{name}-of-tomorrow", f"{name}-validity-start",
              f"The {what} is issued tomorrow.",
              with_list(lambda scene: {"this_update": scene.at + _DAY})),
    )  # fmt: skip


# Signed documents


def _document_faults(name: str, piece: str, what: str) -> tuple[Fault, ...]:
    member = MEMBERS[piece]

    def plain(change: Callable[[Scene], bytes]) -> Callable[[Scene], Case]:
        return lambda scene: scene.with_piece(piece, change(scene))

    def envelope(scene: Scene) -> bytes:
        genuine: bytes = getattr(scene.collateral(), piece)
        return genuine

    def signed(change: Callable[[bytes], bytes]) -> Callable[[Scene], Case]:
        return plain(lambda scene: scene.response(piece, change(scene.body(piece))))

    def dated(scene: Scene) -> bytes:
        write = scene.tcb_info if piece == "tcb_info" else scene.qe_identity
        return write(issue_date=scene.at + _DAY)

    def by(owner: Callable[[Intel], Authority]) -> Callable[[Scene], Case]:
        return plain(lambda scene: scene.response(piece, scene.body(piece), owner(scene.intel).key))

    twice = b'"%b":' % member.encode()
    return (
        Fault(f"{name}-by-a-thief", f"{name}-signature",
              f"The {what} is signed by nobody's key.",
              plain(lambda s: s.response(piece, s.body(piece), s.key("thief")))),
        Fault(f"{name}-by-the-root", f"{name}-signature",
              f"The {what} is signed by the root itself, which signs no documents.",
              by(lambda intel: intel.root)),
        Fault(f"{name}-altered", f"{name}-signature",
              f"One digit of the {what} was changed after it was signed.",
              plain(lambda s: envelope(s).replace(b'"version":', b'"version":1', 1))),
        Fault(f"{name}-reserialised", f"{name}-signature",
              f"The {what} says the same in other white space than what was signed.",
              plain(lambda s: envelope(s).replace(b'"version":', b'"version": ', 1))),
        Fault(f"{name}-signature-of-zeros", f"{name}-signature",
              f"The signature of the {what} is all zeros.",
              plain(lambda s: envelope(s)[:-130] + b"0" * 128 + b'"}')),
        Fault(f"{name}-is-an-error-page", f"{name}-format",
              f"An error page was saved as the {what}.", plain(lambda _: _ERROR_PAGE)),
        Fault(f"{name}-without-its-signature", f"{name}-format",
              f"The response holds the {what} and no signature.",
              plain(lambda s: b'{"%b":%b}' % (member.encode(), s.body(piece)))),
        Fault(f"{name}-response-twice", f"{name}-format",
              f"The response holds two of the {what}: one that was verified, one that is read.",
              plain(lambda s: b"{" + twice + b"{}," + envelope(s)[1:])),
        Fault(f"{name}-member-twice", f"{name}-format",
              f"A member of the {what} stands twice, and Intel signed it so.",
              signed(lambda body: b'{"tcbEvaluationDataNumber":99,' + body[1:])),
        Fault(f"{name}-member-missing", f"{name}-format",
              f"A member of the {what} is missing, and Intel signed it so.",
              signed(lambda body: body.replace(b'"nextUpdate"', b'"next"'))),
        Fault(f"{name}-of-version-9", f"{name}-format",
              f"The {what} is of a version that does not exist.",
              signed(_of_version_9)),
        Fault(f"{name}-of-tomorrow", f"{name}-validity-start",
              f"The {what} is issued tomorrow.", plain(dated)),
    )  # fmt: skip


def _of_version_9(body: bytes) -> bytes:
    at = body.index(b'"version":') + len(b'"version":')
    return body[:at] + b"9" + body[at + 1 :]


def _components(count: int) -> Fault:
    """A level with another number of components than 16."""

    def departure(scene: Scene) -> Case:
        levels = scene.tcb_info_wire().tcb_levels
        top = levels[0]
        components = (top.tcb.sgxtcbcomponents * 2)[:count]
        tcb = msgspec.structs.replace(top.tcb, sgxtcbcomponents=components)
        odd = msgspec.structs.replace(top, tcb=tcb)
        return scene.case(tcb_info=scene.tcb_info(tcb_levels=[odd, *levels[1:]]))

    return Fault(
        f"tcb-info-of-{count}-components",
        "tcb-info-format",
        f"A level of the TCB info lists {count} components instead of 16.",
        departure,
    )


def _level_twice(scene: Scene) -> Case:
    levels = scene.tcb_info_wire().tcb_levels
    return scene.case(tcb_info=scene.tcb_info(tcb_levels=[levels[0], *levels]))


_TCB_INFO_FAULTS = (
    _components(15),
    _components(17),
    Fault("tcb-info-level-twice", "tcb-info-format",
          "Two levels of the TCB info ask for the same SVNs.", _level_twice),
    Fault("tcb-info-without-levels", "tcb-info-format", "The TCB info has no levels.",
          lambda s: s.case(tcb_info=s.tcb_info(tcb_levels=[]))),
    Fault("tcb-info-of-another-type", "tcb-info-format",
          "The TCB info is of a tcbType whose comparison nobody knows.",
          lambda s: s.case(tcb_info=s.tcb_info(tcb_type=1))),
    Fault("tcb-info-of-half-a-platform", "tcb-info-format",
          "A TCB info for TDX lacks the TDX module.",
          lambda s: s.case(tcb_info=s.tcb_info(tdx_module=msgspec.UNSET)), TDX),
)  # fmt: skip
_QE_IDENTITY_FAULTS = (
    Fault("qe-identity-of-nobody", "qe-identity-format",
          "The identity is of an enclave that does not exist.",
          lambda s: s.case(qe_identity=s.qe_identity(id="QE2"))),
    Fault("qe-identity-level-twice", "qe-identity-format",
          "Two levels of the identity ask for the same ISVSVN.",
          lambda s: s.case(qe_identity=s.qe_identity(
              tcb_levels=s.qe_identity_wire().tcb_levels * 2))),
)  # fmt: skip


# Revocation


def _revoke(scene: Scene, authority: Authority, serial: int | None = None) -> None:
    number = authority.certificate.serial if serial is None else serial
    scene.intel.revoked["root"].append(Revocation(number, scene.at - _DAY))


def _revoked_in(piece: str, who: Pick) -> Callable[[Scene], Case]:
    """A revoked certificate of an authority's name and key in one chain; elsewhere a good one."""

    def departure(scene: Scene) -> Case:
        _revoke(scene, who(scene), ELSEWHERE)
        revoked = twin(who(scene), scene.intel.root, serial=ELSEWHERE)
        return scene.with_piece(piece, chain_of(revoked, scene.intel.root))

    return departure


def _signer_revoked(scene: Scene) -> Case:
    _revoke(scene, tcb_signing(scene))
    return scene.case()


def _ca_revoked(scene: Scene) -> Case:
    _revoke(scene, pck_ca(scene))
    return scene.case()


def _clock_behind(scene: Scene) -> Case:
    return scene.case(at=scene.at - 400 * _DAY)


_CRL_CHAIN, _TCB_CHAIN, _QE_CHAIN = (
    f"{piece}_issuer_chain" for piece in ("pck_crl", "tcb_info", "qe_identity")
)
FAULTS = (
    *chain_faults("crl-issuer-chain", pck_ca, _piece(_CRL_CHAIN), "PCK CA", "PCK CRL issuer chain"),
    *_crl_faults("root-ca-crl", "root_ca_crl", "root's CRL"),
    Fault("clock-behind", "root-ca-crl-validity-start",
          "The verifier's clock is 400 days behind: all collateral is of its future.",
          _clock_behind, also=("pck-crl-validity-start", "tcb-info-validity-start",
                               "qe-identity-validity-start")),
    *_crl_faults("pck-crl", "pck_crl", "PCK CA's CRL"),
    Fault("crl-issuer-revoked", "crl-issuer-revocation",
          "The PCK CRL comes with a revoked certificate of its CA.",
          _revoked_in(_CRL_CHAIN, pck_ca), SINGLE),
    Fault("pck-ca-revoked", "crl-issuer-revocation",
          "Intel has revoked the CA of the machine's PCK certificate.", _ca_revoked,
          also=("pck-ca-revocation",)),
    *chain_faults("tcb-info-chain", tcb_signing, _piece(_TCB_CHAIN), "TCB signing certificate",
                  "TCB info issuer chain"),
    Fault("tcb-info-chain-of-a-pck-ca", "tcb-info-chain-roles",
          "A PCK CA's certificate stands where the TCB signer's belongs.",
          lambda s: s.case(tcb_info_issuer_chain=chain_of(pck_ca(s), s.intel.root))),
    Fault("tcb-info-signer-revoked", "tcb-info-signer-revocation",
          "The TCB info comes with a revoked certificate of its signer.",
          _revoked_in(_TCB_CHAIN, tcb_signing)),
    Fault("tcb-signer-revoked", "tcb-info-signer-revocation",
          "Intel has revoked the signer of its documents.", _signer_revoked,
          also=("qe-identity-signer-revocation",)),
    *_document_faults("tcb-info", "tcb_info", "TCB info"),
    *_TCB_INFO_FAULTS,
    *chain_faults("qe-identity-chain", tcb_signing, _piece(_QE_CHAIN), "TCB signing certificate",
                  "QE identity issuer chain"),
    Fault("qe-identity-signer-revoked", "qe-identity-signer-revocation",
          "The QE identity comes with a revoked certificate of its signer.",
          _revoked_in(_QE_CHAIN, tcb_signing), TDX),
    *_document_faults("qe-identity", "qe_identity", "QE identity"),
    *_QE_IDENTITY_FAULTS,
)  # fmt: skip
