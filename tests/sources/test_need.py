"""What a quote needs: which collateral, and whose PCK certificate."""

import pytest

from dcap import CollateralError, FormatError, Quote
from dcap.formats.certificate import Certificate, write_chain
from dcap.simulator import World
from dcap.sources.need import CollateralNeed, machine_of, need_of
from worlds import Vector, each_vector

ROOT_ONLY = "the first certificate of the chain has no SGX extension"


@pytest.fixture(scope="module")
def intel() -> World:
    """A world with a machine of each CA."""
    made = World("needs")
    made.platform("node")
    made.platform("single", ca="processor")
    return made


@pytest.mark.parametrize("certification", [4, 5])
@pytest.mark.parametrize("tee", ["SGX", "TDX"])
@pytest.mark.parametrize(("name", "ca"), [("node", "platform"), ("single", "processor")])
def test_a_need_stands_in_the_pck_certificate(
    intel: World, name: str, ca: str, tee: str, certification: int
) -> None:
    """TEE by the header, FMSPC by the certificate's extension, CA by its issuer."""
    machine = intel.platform(name)
    quote = Quote.parse(machine.quote(tee=tee, certification=certification))
    assert need_of(quote) == CollateralNeed(tee=tee, fmspc=machine.fmspc, ca=ca)  # type: ignore[arg-type]


def test_the_generation_is_the_callers(intel: World) -> None:
    """`update` and the evaluation number are passed through."""
    quote = Quote.parse(intel.platform("node").quote())
    found = need_of(quote, update="early", evaluation_number=17)
    assert (found.update, found.evaluation_number) == ("early", 17)


def test_a_chain_beside_the_quote_counts_first(intel: World) -> None:
    """A given chain says what is needed, whatever the quote carries."""
    quote = Quote.parse(intel.platform("node").quote())
    single = intel.platform("single")
    assert need_of(quote, pck_chain=single.pck_chain()).fmspc == single.fmspc


@pytest.mark.parametrize("certification", [1, 2, 3])
def test_without_a_certificate_there_is_no_need(intel: World, certification: int) -> None:
    """Types 1 to 3 need the chain beside them: nothing is known of the evidence yet (exit 6)."""
    machine = intel.platform("node")
    quote = Quote.parse(machine.quote(certification=certification))
    with pytest.raises(CollateralError) as caught:
        need_of(quote)
    assert (caught.value.code, caught.value.exit_status) == ("need-no-pck", 6)
    assert need_of(quote, pck_chain=machine.pck_chain()).fmspc == machine.fmspc


def test_a_chain_that_begins_with_the_root(intel: World) -> None:
    """A chain whose first certificate is no PCK certificate cannot say what is needed."""
    quote = Quote.parse(intel.platform("node").quote())
    with pytest.raises(FormatError, match=ROOT_ONLY):
        need_of(quote, pck_chain=intel.root_pem)


def test_a_foreign_issuer(intel: World) -> None:
    """Where the issuer's name does not say which CA it is, the extension's members do."""
    for name, ca in (("node", "platform"), ("single", "processor")):
        machine = intel.platform(name)
        leaf = Certificate.parse_chain(machine.pck_chain())[0]
        renamed = Certificate.parse(leaf.der.replace(b"Intel SGX PCK P", b"Other SGX PCK X"))
        assert renamed.issuer_common_name.startswith("Other SGX PCK X")
        chain = write_chain((renamed,))
        assert need_of(Quote.parse(machine.quote()), pck_chain=chain).ca == ca


@pytest.mark.parametrize("certification", [1, 2, 3])
def test_a_machine_is_named_by_types_one_to_three(intel: World, certification: int) -> None:
    """QE id of the header, raw TCB and PCEID of the data; the PPID is of use in type 3 alone."""
    machine = intel.platform("node")
    found = machine_of(Quote.parse(machine.quote(certification=certification)))
    assert found.qe_id == machine.qe_id
    assert (found.cpu_svn, found.pce_id) == (machine.cpu_svn, machine.pce_id)
    expected = machine.encrypted_ppid if certification == 3 else None
    assert found.encrypted_ppid == expected
    assert repr(found) == "<MachineNeed>"


def test_a_ppid_of_zeros_is_none(intel: World) -> None:
    """A host that could not read its own PPID sends zeros: nobody knows a machine by them."""
    machine = intel.platform("node")
    data = machine.quote(certification=3).replace(machine.encrypted_ppid, bytes(384))
    assert machine_of(Quote.parse(data)).encrypted_ppid is None


def test_a_quote_with_a_chain_names_no_machine(intel: World) -> None:
    """Type 5 holds no PPID to ask by."""
    with pytest.raises(FormatError):
        machine_of(Quote.parse(intel.platform("node").quote()))


@each_vector("verifiable")
def test_needs_of_real_quotes(vector: Vector) -> None:
    """Every real quote with a chain has a need that its own collateral answers."""
    quote = Quote.parse(vector.quote)
    found = need_of(quote)
    assert found.tee == quote.tee
    assert len(found.fmspc) == 6
