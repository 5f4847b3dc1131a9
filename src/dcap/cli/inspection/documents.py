"""Intel's signed documents, sets of collateral and SIGSTRUCTs as values."""

from collections.abc import Callable, Iterable

from dcap.appraisal.claims import flag_names
from dcap.cli.inspection.certificates import crl_tree
from dcap.cli.inspection.tree import NOT_CHECKED, Tree, attempt, moment
from dcap.errors import FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.sgx_report import ATTRIBUTE_FLAGS
from dcap.formats.signed_json import SignedJson
from dcap.formats.sigstruct import INTEL, Sigstruct
from dcap.formats.tcb_evaluation_numbers import TcbEvaluationNumbers
from dcap.formats.tcb_info import IsvSvnLevel, TcbInfo, TdxModuleIdentity

EVALUATION_NUMBERS = "tcbEvaluationDataNumbers"


def _tcb_info(body: bytes) -> Tree:
    found = TcbInfo.parse(body)
    modules = (
        *([found.tdx_module] if found.tdx_module else ()),
        *(found.tdx_module_identities or ()),
    )
    return {
        "id": found.id,
        "version": found.version,
        "issue_date": moment(found.issue_date),
        "next_update": moment(found.next_update),
        "fmspc": found.fmspc.hex(),
        "pce_id": found.pce_id.hex(),
        "tcb_evaluation_data_number": found.evaluation_data_number,
        "tcb_levels": [
            {
                "status": level.status,
                "tcb_date": moment(level.date),
                "pce_svn": level.pce_svn,
                "tcb_components": level.components.hex(),
                **({"tdx_components": level.tdx_components.hex()} if level.tdx_components else {}),
                "advisory_ids": list(level.advisory_ids),
            }
            for level in found.levels
        ],
        **({"tdx_modules": [_module(module) for module in modules]} if modules else {}),
    }


def _module(module: TdxModuleIdentity) -> Tree:
    return {
        "module": module.id or "major version 0",
        "mrsignerseam": module.mr_signer.hex(),
        "seam_attributes": module.attributes.hex(),
        "seam_attributes_mask": module.attributes_mask.hex(),
        "module_levels": _svn_levels(module.levels),
    }


def _enclave_identity(body: bytes) -> Tree:
    found = EnclaveIdentity.parse(body)
    return {
        "id": found.id,
        "version": found.version,
        "issue_date": moment(found.issue_date),
        "next_update": moment(found.next_update),
        "tcb_evaluation_data_number": found.evaluation_data_number,
        "mrsigner": found.mr_signer.hex(),
        "product_id": found.isv_prod_id,
        "misc_select": found.misc_select.hex(),
        "misc_select_mask": found.misc_select_mask.hex(),
        "attributes": found.attributes.hex(),
        "attributes_mask": found.attributes_mask.hex(),
        "tcb_levels": _svn_levels(found.levels),
    }


def _svn_levels(levels: Iterable[IsvSvnLevel]) -> list[Tree]:
    return [
        {
            "status": level.status,
            "tcb_date": moment(level.date),
            "svn": level.isv_svn,
            "advisory_ids": list(level.advisory_ids),
        }
        for level in levels
    ]


def _evaluation_numbers(body: bytes) -> Tree:
    found = TcbEvaluationNumbers.parse(body)
    return {
        "id": found.id,
        "version": found.version,
        "issue_date": moment(found.issue_date),
        "next_update": moment(found.next_update),
        "tcb_evaluation_numbers": [
            {
                "tcb_evaluation_data_number": number.tcb_evaluation_data_number,
                "tcb_recovery_event_date": moment(number.tcb_recovery_event_date),
                "tcb_date": moment(number.tcb_date),
            }
            for number in found.tcb_eval_numbers
        ],
    }


#: Members that only this document has -> kind, its envelope's member, its reader.
DOCUMENTS: tuple[tuple[frozenset[str], str, str, Callable[[bytes], Tree]], ...] = (
    (frozenset({"fmspc", "tcbLevels"}), "tcb-info", TCB_INFO, _tcb_info),
    (frozenset({"isvprodid", "mrsigner"}), "enclave-identity", ENCLAVE_IDENTITY, _enclave_identity),
    (
        frozenset({"tcbEvalNumbers"}),
        "tcb-evaluation-numbers",
        EVALUATION_NUMBERS,
        _evaluation_numbers,
    ),
)


def collateral_tree(collateral: Collateral) -> Tree:
    """Each piece in short; a piece that cannot be read says so in its place."""
    chains = {
        "tcb_info_issuer_chain": collateral.tcb_info_issuer_chain,
        "qe_identity_issuer_chain": collateral.qe_identity_issuer_chain,
        "pck_crl_issuer_chain": collateral.pck_crl_issuer_chain,
        "pck_certificate_chain": collateral.pck_certificate_chain,
    }
    return {
        "tcb_info": attempt(lambda: _short(_tcb_info(_body(collateral.tcb_info, TCB_INFO)))),
        "qe_identity": attempt(
            lambda: _short(_enclave_identity(_body(collateral.qe_identity, ENCLAVE_IDENTITY)))
        ),
        "root_ca_crl": attempt(lambda: _short(crl_tree(Crl.parse(collateral.root_ca_crl)))),
        "pck_crl": attempt(lambda: _short(crl_tree(Crl.parse(collateral.pck_crl)))),
        **{name: _subjects(chain) for name, chain in chains.items() if chain},
    }


def _body(response: bytes, member: str) -> bytes:
    return SignedJson.parse(response, member).body


def _short(tree: Tree) -> Tree:
    """The same without its lists, which have a command of their own: inspecting the piece."""
    return {name: member for name, member in tree.items() if not isinstance(member, list)}


def _subjects(chain: bytes) -> object:
    try:
        return [found.common_name for found in Certificate.parse_chain(chain)]
    except FormatError as error:
        return [f"unreadable: {error.what}"]


def sigstruct_tree(found: Sigstruct) -> Tree:
    """A SIGSTRUCT: what its signer fixed of an enclave."""
    built = found.build_date
    return {
        "kind": "sigstruct",
        "mrenclave": found.mr_enclave.hex(),
        "mrsigner": found.mr_signer.hex(),
        "product_id": found.isv_prod_id,
        "svn": found.isv_svn,
        "debug": found.debug,
        "debug_allowed": found.debug_allowed,
        "date": f"{found.date_bcd:08x}" if built is None else built.isoformat(),
        "vendor": "Intel" if found.vendor == INTEL else f"{found.vendor:08x}",
        "attributes": found.attributes.hex(),
        "attributes_mask": found.attributes_mask.hex(),
        "attribute_flags": flag_names(
            int.from_bytes(found.attributes[:8], "little"), ATTRIBUTE_FLAGS
        ),
        "misc_select": found.misc_select.to_bytes(4, "little").hex(),
        "misc_select_mask": found.misc_mask.to_bytes(4, "little").hex(),
        "isv_family_id": found.isv_family_id.hex(),
        "isv_ext_prod_id": found.isv_ext_prod_id.hex(),
        "signature": NOT_CHECKED,
    }
