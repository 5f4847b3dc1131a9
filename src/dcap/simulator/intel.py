"""The simulated Intel: its keys, certificates, revocation lists and signed documents at an instant.

The root differs from Intel's in name and key, so that no verifier takes it for the real one. All is
a function of seed, instant and the events so far; asking twice gives the same bytes.

Source: Intel PCK certificate and CRL profile; `verification.md` §2-4. Not here: machines
(`platform`), routes (`pcs`).
"""

from datetime import UTC, datetime, timedelta
from functools import cached_property

import msgspec

from dcap.formats import certificate as certificates
from dcap.formats import crl as crls
from dcap.formats.certificate import Certificate, Extension
from dcap.formats.signed_json import SignedJson
from dcap.simulator import documents
from dcap.simulator.keys import SigningKey, signing_key
from dcap.simulator.tcb_model import FIRST, Generation

ORGANIZATION = "dcap simulator, not Intel"
ROOT = "Intel SGX Root CA"
PROCESSOR_CA = "Intel SGX PCK Processor CA"
PLATFORM_CA = "Intel SGX PCK Platform CA"
TCB_SIGNING = "Intel SGX TCB Signing"
ROOT_CRL_URL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
PCK_CRL_URL = (
    "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"
)
#: Where the world begins; its CAs are older.
EPOCH = datetime(2018, 5, 21, 10, 50, 10, tzinfo=UTC)
_YEAR = timedelta(days=365)
_DAY = timedelta(days=1)
VALIDITY = timedelta(days=30)


class Authority(msgspec.Struct, frozen=True):
    """A certificate of Intel's, and the key it is of."""

    key: SigningKey
    certificate: Certificate

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.to_pem()


class Revocation(msgspec.Struct, frozen=True):
    """One entry of a revocation list."""

    serial: int
    date: datetime


def issue(
    subject: str,
    key: SigningKey,
    issuer: Authority | None,
    not_before: datetime,
    not_after: datetime,
    *,
    is_ca: bool = False,
    path_length: int | None = None,
    crl_url: str = ROOT_CRL_URL,
    sgx_extension: bytes | None = None,
    serial: int | None = None,
) -> Authority:
    """A certificate of the profile; self-signed where there is no issuer."""
    signer = issuer.key if issuer else key
    name = certificates.write_name(subject, ORGANIZATION)
    extensions: list[Extension] = certificates.profile_extensions(
        authority_key_id=signer.key_id,
        subject_key_id=key.key_id,
        crl_url=crl_url,
        is_ca=is_ca,
        path_length=path_length,
        sgx_extension=sgx_extension,
    )
    tbs = certificates.write_tbs(
        serial=int.from_bytes(key.key_id, "big") if serial is None else serial,
        issuer=issuer.certificate.subject if issuer else name,
        not_before=not_before,
        not_after=not_after,
        subject=name,
        public_key_info=certificates.write_public_key(key.public_key),
        extensions=extensions,
    )
    return Authority(key, Certificate.parse(certificates.write_signed(tbs, signer.sign(tbs))))


class Intel:
    """One world's Intel. Events change it; everything else only asks."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.generations: dict[int, Generation] = {FIRST.number: FIRST}
        self.standard = FIRST.number
        self.early = FIRST.number
        self.retired_below = FIRST.number
        self.signer_number = 0
        self.revoked: dict[str, list[Revocation]] = {"root": [], "processor": [], "platform": []}
        self.crl_reissues = 0
        self.root_crl_issued: datetime | None = None

    # Authorities

    @cached_property
    def root(self) -> Authority:
        """The simulated root."""
        return issue(
            ROOT, self._key("root"), None, EPOCH, EPOCH + 31 * _YEAR, is_ca=True, path_length=1
        )

    @cached_property
    def processor_ca(self) -> Authority:
        """The CA of single-package platforms."""
        return self._ca(PROCESSOR_CA, "processor ca")

    @cached_property
    def platform_ca(self) -> Authority:
        """The CA of multi-package platforms."""
        return self._ca(PLATFORM_CA, "platform ca")

    @property
    def tcb_signing(self) -> Authority:
        """The signer of documents, the newest one."""
        return self._signer(self.signer_number)

    def pck_ca(self, ca: str) -> Authority:
        """The CA called "processor" or "platform"."""
        return self.platform_ca if ca == "platform" else self.processor_ca

    def chain(self, *members: Authority) -> bytes:
        """PEM of a chain, leaf first, the root last."""
        return certificates.write_chain(m.certificate for m in (*members, self.root))

    def _ca(self, subject: str, label: str) -> Authority:
        end = EPOCH + 15 * _YEAR
        return issue(subject, self._key(label), self.root, EPOCH, end, is_ca=True, path_length=0)

    def _signer(self, number: int) -> Authority:
        key = self._key("tcb signing", str(number))
        return issue(TCB_SIGNING, key, self.root, EPOCH, EPOCH + 15 * _YEAR)

    def _key(self, *label: str) -> SigningKey:
        return signing_key(self.seed, *label)

    # Revocation lists

    def root_ca_crl(self, at: datetime) -> bytes:
        """The root's list in DER: made anew each year, and when it changes."""
        issued = max(datetime(at.year, 1, 1, tzinfo=UTC), self.root_crl_issued or EPOCH)
        return self._crl("root", self.root, issued, issued + _YEAR + VALIDITY)

    def pck_crl(self, ca: str, at: datetime) -> bytes:
        """A PCK CA's list in DER: made anew each day."""
        issued = start_of_day(at)
        return self._crl(ca, self.pck_ca(ca), issued, issued + VALIDITY)

    def _crl(self, name: str, issuer: Authority, issued: datetime, until: datetime) -> bytes:
        entries = [(entry.serial, entry.date) for entry in self.revoked[name]]
        number = 1 + len(entries) + self.crl_reissues
        tbs = crls.write_tbs(
            issuer=issuer.certificate.subject,
            this_update=issued,
            next_update=until,
            revoked=entries,
            crl_number=number,
            authority_key_id=issuer.key.key_id,
        )
        return certificates.write_signed(tbs, issuer.key.sign(tbs))

    # Signed documents

    def generation(self, update: str = "standard", number: int | None = None) -> Generation:
        """The generation that a request asks for. Raises `KeyError` where there is none."""
        if number is None:
            number = self.early if update == "early" else self.standard
        return self.generations[number]

    def tcb_info(
        self,
        tee: str,
        fmspc: bytes,
        pce_id: bytes,
        at: datetime,
        generation: Generation,
        version: int = 3,
    ) -> SignedJson:
        """A TCB info, signed; issued at the start of the day, good for 30 days."""
        issued = start_of_day(at)
        body = documents.write_tcb_info(
            tee, version, fmspc, pce_id, generation, issued, issued + VALIDITY
        )
        return self.sign(body)

    def enclave_identity(self, name: str, at: datetime, generation: Generation) -> SignedJson:
        """The identity of QE, TD_QE or QVE, signed."""
        issued = start_of_day(at)
        body = documents.write_enclave_identity(name, generation, issued, issued + VALIDITY)
        return self.sign(body)

    def evaluation_numbers(self, tee: str, at: datetime) -> SignedJson:
        """The generations that are not retired, signed."""
        issued = start_of_day(at)
        offered = [g for n, g in self.generations.items() if n >= self.retired_below]
        return self.sign(
            documents.write_evaluation_numbers(tee, offered, issued, issued + VALIDITY)
        )

    def sign(self, body: bytes) -> SignedJson:
        """A document by the TCB signing key."""
        return SignedJson(body, self.tcb_signing.key.sign_raw(body))


def start_of_day(at: datetime) -> datetime:
    """Midnight UTC of that day: when the day's collateral is issued."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
