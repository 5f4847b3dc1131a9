"""What is odd and harmless: real evidence and collateral come in all these forms.

A verifier that refuses one of them, or that reads it otherwise, is wrong: `finding` is empty.

Source: `verification.md` §1, §2, §4, §9 (5, 22, 26, 29).
"""

from datetime import timedelta

from dcap.formats import pem
from dcap.formats.certification import CertificationType
from dcap.formats.quote import HEADER_SIZE
from dcap.simulator.faults.collateral_faults import pck_ca
from dcap.simulator.faults.fault import SINGLE, TDX, TDX15, Fault
from dcap.simulator.faults.forgery import chain_of, twin
from dcap.simulator.faults.scene import Case, Scene
from dcap.simulator.intel import Authority, Revocation

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SIGNATURE = HEADER_SIZE + 384 + 4
_DAY = timedelta(days=1)


def _members(scene: Scene) -> tuple[Authority, Authority, Authority]:
    return scene.machine.pck(), pck_ca(scene), scene.intel.root


def _reordered(scene: Scene) -> Case:
    leaf, ca, root = _members(scene)
    return scene.case(quote=scene.certified(chain_of(root, leaf, ca)))


def _padded_chain(scene: Scene) -> Case:
    return scene.case(quote=scene.certified(chain_of(*_members(scene)) + b"\n\0\0"))


def _other_edition(scene: Scene) -> Case:
    """Intel has published its root in two editions: other dates, the same name and key."""
    leaf, ca, root = _members(scene)
    edition = twin(root, root, not_after=root.certificate.not_after - 365 * _DAY, serial=2)
    return scene.case(quote=scene.certified(chain_of(leaf, ca, edition)))


def _leaf_alone(scene: Scene) -> Case:
    data = scene.machine.certification(CertificationType.PCK_CERTIFICATE)
    return scene.case(quote=scene.signed(certification=data))


def _by_ppid(scene: Scene) -> Case:
    data = scene.machine.certification(CertificationType.PPID_RSA3072_ENCRYPTED)
    chain = scene.machine.pck_chain()
    return scene.case(quote=scene.signed(certification=data), pck_certificate_chain=chain)


def _padded(scene: Scene) -> Case:
    return scene.case(quote=scene.quote().ljust(8000, b"\0"))


def _malleated(scene: Scene) -> Case:
    """(r, n-s) is as valid as (r, s)."""
    quote = scene.quote()
    at = _SIGNATURE + 32
    s = int.from_bytes(quote[at : at + 32], "big")
    return scene.case(quote=scene.patched(at, (_ORDER - s).to_bytes(32, "big")))


def _in_hex(scene: Scene) -> Case:
    genuine = scene.collateral()
    return scene.case(
        root_ca_crl=genuine.root_ca_crl.hex().upper().encode(),
        pck_crl=pem.encode(genuine.pck_crl, "X509 CRL"),
    )


def _unsorted(scene: Scene) -> Case:
    levels = scene.tcb_info_wire().tcb_levels
    return scene.case(tcb_info=scene.tcb_info(tcb_levels=levels[::-1]))


def _lower_case(scene: Scene) -> Case:
    return scene.case(tcb_info=scene.tcb_info(fmspc=scene.machine.fmspc.hex()))


def _unknown_member(scene: Scene) -> Case:
    body = scene.body("tcb_info")
    return scene.case(tcb_info=scene.response("tcb_info", body[:-1] + b',"news":[]}'))


def _module_below_the_level(scene: Scene) -> Case:
    """TEE_TCB_SVN[0] is 3, the level's 5: the module's identity judges it, not the level."""
    scene.machine.module = scene.machine.module_now = (3, 3)
    return scene.case()


def _serial_on_another_list(scene: Scene) -> Case:
    """The root's list has the leaf's serial number: it speaks of the root's certificates."""
    serial = scene.machine.pck().certificate.serial
    scene.intel.revoked["root"].append(Revocation(serial, scene.at - _DAY))
    return scene.case()


ODDITIES = (
    Fault("chain-in-another-order", "", "The root stands first.", _reordered),
    Fault("chain-with-nuls", "", "A newline and NULs follow the chain.", _padded_chain, TDX),
    Fault("chain-with-another-edition-of-the-root", "",
          "The quote brings an edition of the root of other dates.", _other_edition),
    Fault("leaf-alone", "", "The quote brings its leaf alone (type 4).", _leaf_alone, SINGLE),
    Fault("encrypted-ppid-with-its-chain-beside", "",
          "The quote names its platform (type 3), and its chain came with the collateral.",
          _by_ppid, TDX),
    Fault("quote-padded-with-zeros", "", "Zeros pad the quote to 8,000 bytes.", _padded),
    Fault("signature-malleated", "",
          "The s of the signature is replaced by n-s, which is valid too.", _malleated),
    Fault("crls-in-hex-and-pem", "", "One CRL is in hex of DER, the other in PEM.", _in_hex),
    Fault("levels-unsorted", "", "The TCB info lists its lowest level first.", _unsorted, TDX),
    Fault("fmspc-in-lower-case", "", "The TCB info spells its FMSPC in lower case.", _lower_case),
    Fault("member-unknown", "", "The TCB info has a member that nobody knows yet.",
          _unknown_member),
    Fault("module-below-the-level", "",
          "The module's version is below the level's first two TDX components.",
          _module_below_the_level, TDX15),
    Fault("serial-on-the-root-s-list", "",
          "The root's CRL has the serial number of the leaf, which is not the root's.",
          _serial_on_another_list),
)  # fmt: skip
