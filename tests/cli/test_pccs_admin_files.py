"""`dcap pccs collect`, `cache`, `import` and `export`: files in, files out, nothing unproven."""

import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from cli.pccs_site import Site, site
from dcap.formats.certificate import Certificate
from dcap.pccs.items import IdentityKey, TcbInfoKey
from dcap.pccs.store.store import Store
from dcap.simulator.platform import Platform
from dcap.sources.foreign_caches import read_intel_cache
from pccs.rig import record_of
from transcripts.desk import Outcome, run

NAME = "platform_collaterals.json"
ROOT = ("--insecure-test-root", "root.pem")


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """Both sides, and a file fetched for two machines of one package and one of several."""
    with site(tmp_path) as made:
        made.list(*made.rack(2), made.world.platform("big"))
        assert made.fetch("-t", "all").status == 0
        yield made


def here(at: Site, *given: str, **environment: str) -> Outcome:
    """`dcap pccs …` that asks nobody."""
    return run(at.folder, "pccs", *given, **environment)


def row(machine: Platform) -> str:
    """What PCKIDRetrievalTool writes for a machine of one package."""
    record = record_of(machine)
    names = ("enc_ppid", "pce_id", "cpu_svn", "pce_svn", "qe_id", "platform_manifest")
    return ",".join(str(record[name]) for name in names) + "\n"


# collect


def test_tables_of_all_machines_become_one_list(at: Site) -> None:
    """Tables lie in the folder or below it; a machine whose table is there twice is listed once."""
    tables = at.folder / "tables"
    for name, machine in zip(("a", "b"), at.rack(2), strict=True):
        (tables / name).mkdir(parents=True)
        (tables / name / "pckid_retrieval.csv").write_text(row(machine))
    (tables / "again.csv").write_text(row(at.rack(1)[0]))
    outcome = here(at, "collect", "-d", "tables", "-o", "list.json")
    assert outcome.status == 0, outcome.screen
    ids = [entry["qe_id"].lower() for entry in at.read("list.json")]
    assert sorted(ids) == sorted(machine.qe_id.hex() for machine in at.rack(2))
    assert at.fetch("-i", "list.json", "-o", "out.json").status == 0


def test_a_table_that_cannot_be_read_is_told_and_the_others_are_written(at: Site) -> None:
    """Exit status 2, the table by its name, and nothing of what stands in it."""
    tables = at.folder / "tables"
    tables.mkdir()
    (tables / "good.csv").write_text(row(at.rack(1)[0]))
    (tables / "cut.csv").write_text(row(at.rack(2)[1])[:300])
    outcome = here(at, "collect", "-d", "tables", "-o", "list.json")
    assert outcome.status == 2
    assert "cut.csv" in outcome.err
    assert at.rack(2)[1].encrypted_ppid.hex()[:32] not in outcome.screen
    assert len(at.read("list.json")) == 1


def test_no_table_is_no_list(at: Site) -> None:
    """An empty folder is a mistake, and no empty list comes of it."""
    (at.folder / "empty").mkdir()
    outcome = here(at, "collect", "-d", "empty", "-o", "list.json")
    assert (outcome.status, "[collect-nothing]" in outcome.err) == (1, True)
    assert not (at.folder / "list.json").exists()


# cache


def test_hosts_without_a_pccs_get_their_files(at: Site) -> None:
    """Of a carried file: an entry for each machine, that Intel's provider reads, until it expires."""
    before = datetime.now(UTC)
    outcome = here(at, "cache", "-i", NAME, "-o", "out", "-e", "10", *ROOT)
    assert outcome.status == 0, outcome.screen
    rack = {f"{machine.qe_id.hex()}_0000" for machine in at.rack(2)}
    assert {file.name for file in (at.folder / "out").iterdir()} == {*rack, "0000000000000000_0000"}
    entries = read_intel_cache(at.folder / "out")
    assert [(entry.content.kind, entry.trouble) for entry in entries] == [("multicerts", "")] * 3
    ends = {entry.expires for entry in entries}
    assert all(end and before + timedelta(hours=9) < end for end in ends)


def test_an_entry_holds_what_the_provider_chooses_from(at: Site) -> None:
    """CPUSVN, the SGX TCB info asked for, the chain, all certificates of the machine."""
    assert here(at, "cache", "-i", NAME, "-o", "out", "-t", "early", *ROOT).status == 0
    machine = at.rack(1)[0]
    data = (at.folder / "out" / f"{machine.qe_id.hex()}_0000").read_bytes()
    assert struct.unpack_from("<HI", data) == (1, 4)
    strings, place = [], 14
    while place < len(data):
        (size,) = struct.unpack_from("<I", data, place)
        strings.append(data[place + 4 : place + 4 + size])
        place += 4 + size
    cpu_svn, info, chain, certificates = strings
    assert cpu_svn.decode().lower() == machine.cpu_svn.hex()
    collaterals = at.read(NAME)["collaterals"]
    infos = {entry["fmspc"]: entry for entry in collaterals["tcbinfos"]}
    assert json.loads(info) == infos[machine.fmspc.hex().upper()]["sgx_tcbinfo_early"]
    assert len(Certificate.parse_chain(unquote_to_bytes(chain))) == 2
    assert len(json.loads(certificates)) == len(machine.issued())


def test_a_list_of_machines_is_asked_for(at: Site) -> None:
    """As Intel's tool does it: from the list, with a folder for each machine."""
    outcome = at.fetch("-s", "-o", "out", command="cache")
    assert outcome.status == 0, outcome.screen
    for machine in at.rack(2):
        name = machine.qe_id.hex()
        assert (at.folder / "out" / name.upper() / f"{name}_0000").is_file()


def test_two_machines_of_unknown_tcb_do_not_share_a_file(at: Site) -> None:
    """One name for both would give one the certificates of the other: --sub-dir is asked for."""
    at.list(at.world.platform("big"), at.world.platform("bigger"))
    refused = at.fetch("-o", "out", command="cache")
    assert (refused.status, "[cache-one-name]" in refused.err) == (1, True)
    assert at.fetch("-o", "out", "--sub-dir", command="cache").status == 0


def test_a_qe_id_cannot_lead_out_of_the_folder(at: Site) -> None:
    """A QE id may be any text, and a list is not to be trusted: it is never a path."""
    records = [{**record_of(at.rack(1)[0]), "qe_id": "../../evil"}]
    (at.folder / "platform_list.json").write_text(json.dumps(records))
    outcome = at.fetch("-s", "-o", "out", command="cache")
    assert (outcome.status, "[cache-name]" in outcome.err) == (2, True)
    assert not list(at.folder.parent.rglob("*evil*"))


def test_a_forged_file_makes_no_cache(at: Site) -> None:
    """What hosts read without asking anybody must be proven before."""
    altered = (at.folder / NAME).read_text().replace('"OutOfDate"', '"UpToDate"')
    (at.folder / NAME).write_text(altered)
    outcome = here(at, "cache", "-i", NAME, "-o", "out", *ROOT)
    assert (outcome.status, "[pccs-forged]" in outcome.err) == (3, True)
    assert not (at.folder / "out").exists()


# import and export


def test_a_carried_file_fills_a_store_without_a_service(at: Site) -> None:
    """All machines and items are kept, and told in numbers."""
    outcome = here(at, "import", NAME, "--data", "data", "--json", *ROOT)
    assert outcome.status == 0, outcome.screen
    assert json.loads(outcome.out)["kept"]["platform"] == 3
    with Store.open(f"sqlite:///{at.folder}/data/pccs.db") as store:
        assert store.statistics().platforms == 3
        assert store.items.get(TcbInfoKey("SGX", at.rack(1)[0].fmspc)) is not None


def test_a_forged_file_changes_nothing(at: Site) -> None:
    """Exit status 3, and the store is as empty as before."""
    altered = (at.folder / NAME).read_text().replace('"OutOfDate"', '"UpToDate"')
    (at.folder / NAME).write_text(altered)
    outcome = here(at, "import", NAME, "--data", "data", *ROOT)
    assert (outcome.status, "[pccs-forged]" in outcome.err) == (3, True)
    with Store.open(f"sqlite:///{at.folder}/data/pccs.db") as store:
        assert (store.statistics().platforms, store.statistics().items) == (0, 0)


def test_without_the_test_root_nothing_simulated_is_kept(at: Site) -> None:
    """Intel's root is the one that counts, unless another is loudly asked for."""
    assert here(at, "import", NAME, "--data", "data").status == 3


def test_what_is_exported_can_be_imported(at: Site) -> None:
    """To a file and from it into another store: the same machines, the same bytes."""
    assert here(at, "import", NAME, "--data", "one", *ROOT).status == 0
    exported = here(at, "export", "copy.json", "--data", "one")
    assert exported.status == 0, exported.screen
    assert here(at, "import", "copy.json", "--data", "two", *ROOT).status == 0
    found = []
    for name in ("one", "two"):
        with Store.open(f"sqlite:///{at.folder}/{name}/pccs.db") as store:
            item = store.items.get(IdentityKey("QE"))
            assert item is not None
            found.append((store.statistics().platforms, item.body))
    assert found[0] == found[1]


def test_an_export_of_one_fmspc_names_no_other_machine(at: Site) -> None:
    """--fmspc leaves the others out."""
    assert here(at, "import", NAME, "--data", "one", *ROOT).status == 0
    assert here(at, "export", "part.json", "-f", "90c0a5000000", "--data", "one").status == 0
    assert len(at.read("part.json")["platforms"]) == 1


@pytest.mark.parametrize("form", ["sets", "bundles"])
def test_verifiers_without_a_pccs_get_sets(at: Site, form: str) -> None:
    """A quote of one of the machines is accepted by what was exported, with no network."""
    assert here(at, "import", NAME, "--data", "one", *ROOT).status == 0
    outcome = here(at, "export", "out", "--as", form, "--data", "one")
    assert outcome.status == 0, outcome.screen
    (at.folder / "quote.bin").write_bytes(at.rack(1)[0].quote())
    place = "out/00A0A5000000-sgx" + (".json" if form == "bundles" else "")
    given = ("quote.bin", "--collateral", place, "--any-identity", *ROOT)
    verdict = run(at.folder, "verify", *given)
    assert verdict.status == 0, verdict.screen


def test_a_folder_of_sets_is_taken_in(at: Site) -> None:
    """What `export` and `dcap collateral get` write, another store takes."""
    assert here(at, "import", NAME, "--data", "one", *ROOT).status == 0
    assert here(at, "export", "sets", "--data", "one").status == 0
    outcome = here(at, "import", "sets", "--data", "two", *ROOT)
    assert outcome.status == 0, outcome.screen
    with Store.open(f"sqlite:///{at.folder}/two/pccs.db") as store:
        assert store.items.get(TcbInfoKey("TDX", at.world.platform("big").fmspc)) is not None


def test_an_empty_store_exports_no_sets(at: Site) -> None:
    """It is said, and no empty folder stands for success."""
    (at.folder / "data").mkdir()
    Store.open(f"sqlite:///{at.folder}/data/pccs.db").close()
    outcome = here(at, "export", "out", "--data", "data")
    assert (outcome.status, "[export-nothing]" in outcome.err) == (6, True)
    assert not (at.folder / "out").exists()


def test_nothing_is_exported_over_what_is_there(at: Site) -> None:
    """Neither a file nor a folder."""
    assert here(at, "import", NAME, "--data", "one", *ROOT).status == 0
    for target in (NAME, "net"):
        outcome = here(at, "export", target, "--data", "one")
        assert (outcome.status, "[output-exists]" in outcome.err) == (1, True)


@pytest.mark.parametrize("given", [(), ("a", "--intel-db", "b")])
def test_import_wants_one_thing(at: Site, given: tuple[str, ...]) -> None:
    """A path or a database."""
    assert here(at, "import", *given).status == 1


def test_a_database_that_is_none_is_refused(at: Site) -> None:
    """A file that is no SQLite database is named as what it is not."""
    outcome = here(at, "import", "--intel-db", NAME, "--data", "data", *ROOT)
    assert (outcome.status, "intel-database" in outcome.err) == (6, True)
