"""What `dcap provider list` finds wrong: rows 6 to 9 of the reference's §6, one change each.

Truth: a machine with Intel's two packages, where nothing is wrong. Each test lays one thing more, or
takes one away, and sees the one problem that it makes.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dcap.qpl.discovery import discover
from dcap.qpl.discovery_problems import AZURE_TAG, DMI
from dcap.qpl.discovery_remarks import COMMANDS, PLACES, PROBLEMS
from dcap.qpl.discovery_values import Discovery, Problem
from qpl.libraries import BARE, INTEL, MULTI_ARCH, VERSIONED, System, foreign, library, plugin

ONE = f"{MULTI_ARCH}/{VERSIONED}"
LINK = f"{MULTI_ARCH}/{BARE}"
REAL = f"{MULTI_ARCH}/{VERSIONED}.13.100.4"


@pytest.fixture
def system(tmp_path: Path) -> System:
    """An empty root."""
    return System(tmp_path)


@pytest.fixture
def well(system: System) -> System:
    """A machine with Intel's runtime and -dev packages."""
    system.intel(bare=True)
    return system


def look(system: System, only: str | None = None, **environ: str) -> Discovery:
    """What is found under the root."""
    return discover(system.top, environ=environ, only=only)


def problems(found: Discovery) -> dict[str, Problem]:
    """By code; each is said once here."""
    assert len({one.code for one in found.problems}) == len(found.problems)
    return {one.code: one for one in found.problems}


def remove(system: System, path: str) -> None:
    """Take a file away."""
    (system.top / path.lstrip("/")).unlink()


def test_nothing_is_wrong_with_one_whole_plugin(well: System) -> None:
    """The truth from which the others depart."""
    found = look(well)
    assert (found.problems, found.is_wrong) == ((), False)


# ── row 6: no plugin, or none that can be loaded ────────────────────────────────────────────────


def test_no_plugin_at_all_is_advice(system: System) -> None:
    """We need none ourselves; who asks for one consumer is told that it fails."""
    found = look(system)
    assert list(problems(found)) == ["plugins-none"]
    assert not found.is_wrong
    asked = look(system, "ego")
    assert asked.is_wrong
    assert look(system, "conclave").problems == ()  # it brings its own


def test_without_the_bare_name_open_enclave_has_none(well: System) -> None:
    """Only the runtime package: the link, the package and our own plugin mend it."""
    remove(well, LINK)
    (problem,) = look(well).problems
    assert (problem.code, problem.severity) == ("plugins-bare-name", "error")
    assert problem.consumers == ("open-enclave",)
    assert problem.mends == (
        f"`sudo ln -s {VERSIONED} {LINK}`",
        "or `sudo apt install libsgx-dcap-default-qpl-dev`",
        "or `dcap provider install`",
    )


def test_the_link_that_is_told_mends_it(well: System) -> None:
    """The command, done by hand in the root: then nothing is wrong."""
    remove(well, LINK)
    mend = look(well).problems[0].mends[0]
    target, path = re.fullmatch(r"`sudo ln -s (\S+) (\S+)`", mend).groups()  # type: ignore[union-attr]
    well.link(path, target)
    assert look(well).problems == ()


def test_without_the_versioned_name_qgsd_has_none(well: System) -> None:
    """Only `.so` is there, and a TDX host: it wants `.so.1`, and so do Intel's samples."""
    remove(well, ONE)
    remove(well, LINK)
    well.link(LINK, f"{VERSIONED}.13.100.4")
    assert look(well).problems == ()  # no TDX host
    well.put("/etc/qgs.conf")
    (problem,) = look(well).problems
    assert (problem.code, problem.consumers) == ("plugins-versioned-name", ("qgsd",))
    assert problem.mends[0] == f"`sudo ln -s {BARE} {ONE}`"


def test_a_plugin_where_a_program_does_not_look(system: System) -> None:
    """Intel's samples know one folder: a plugin in /usr/lib64 is linked into it."""
    system.put(f"/usr/lib64/{VERSIONED}", plugin("dcap"))
    (problem,) = look(system, "samples").problems
    assert (problem.code, problem.severity) == ("plugins-elsewhere", "error")
    assert problem.mends[0] == f"`sudo ln -s /usr/lib64/{VERSIONED} {ONE}`"
    (problem,) = look(system, "conclave").problems
    assert (problem.code, problem.severity) == ("plugins-elsewhere", "advice")


def test_a_plugin_that_is_not_in_the_loaders_cache(well: System) -> None:
    """It lies in a folder of ld.so.conf, and nobody has run ldconfig."""
    for path in (ONE, LINK, REAL):
        remove(well, path)
    well.put("/etc/ld.so.conf", "/opt/plugins\n")
    well.put(f"/opt/plugins/{VERSIONED}", plugin("intel"))
    well.link(f"/opt/plugins/{BARE}", VERSIONED)
    assert "plugins-stale-cache" not in problems(look(well))
    empty = b"glibc-ld.so.cache1.1" + bytes(28)
    well.put("/etc/ld.so.cache", empty)
    problem = problems(look(well))["plugins-stale-cache"]
    assert problem.consumers == ("open-enclave", "qe3", "qvl")
    assert problem.mends == ("`sudo ldconfig`",)


def test_a_link_to_nothing(well: System) -> None:
    """The package's file is gone: its name is told, and the package to be installed again."""
    remove(well, REAL)
    found = look(well)
    assert {one.code for one in found.problems} == {"plugins-dangling"}
    assert found.is_wrong
    first, second = found.problems
    assert REAL in first.what
    assert first.mends == ("`sudo apt install --reinstall libsgx-dcap-default-qpl`",)
    assert second.mends == ("`sudo apt install --reinstall libsgx-dcap-default-qpl-dev`",)


def test_a_link_to_nothing_that_hinders_nobody_is_advice(well: System) -> None:
    """A stray one behind the plugin that all take."""
    well.link(f"/usr/lib/{BARE}", "/opt/gone.so")
    found = look(well)
    assert not found.is_wrong
    (problem,) = found.problems
    assert problem.mends == (f"`sudo rm /usr/lib/{BARE}`",)


def test_what_the_loader_passes_by_on_its_way_to_another_is_advice(system: System) -> None:
    """QVL meets a library for another machine, and takes the next; Conclave fails at the first."""
    system.put(ONE, foreign())
    system.azure()
    assert not look(system, "qvl").is_wrong
    assert problems(look(system, "qvl"))["plugins-architecture"].severity == "advice"
    assert problems(look(system, "conclave"))["plugins-architecture"].severity == "error"


BROKEN: list[tuple[str, Callable[[], bytes], str]] = [
    ("plugins-architecture", foreign, "aarch64, 64 bits"),
    ("plugins-architecture", lambda: foreign(32, 3), "i386, 32 bits"),
    ("plugins-not-elf", lambda: b"INPUT(libdcap_quoteprov.so.1)", "script of the linker"),
    ("plugins-not-elf", lambda: b"", "empty"),
    ("plugins-malformed", lambda: plugin("intel")[:700], "beyond the end"),
]


@pytest.mark.parametrize(("code", "content", "said"), BROKEN)
def test_a_file_that_cannot_be_loaded(
    code: str, content: Callable[[], bytes], said: str, well: System
) -> None:
    """In the plugin's place: everybody is left without, and why is said."""
    well.put(REAL, content())
    (problem,) = look(well).problems
    assert (problem.code, problem.severity) == (code, "error")
    assert said in problem.what
    assert set(problem.consumers) == {"conclave", "open-enclave", "qe3", "qvl"}


def test_a_library_that_is_not_there(well: System) -> None:
    """The plugin needs OpenSSL and Intel's network library: the packages that have them."""
    needed = ("libcrypto.so.3", "libsgx_default_qcnl_wrapper.so.1")
    well.put(REAL, plugin("intel", needed=needed))
    (problem,) = look(well).problems
    assert (problem.code, problem.severity) == ("plugins-dependencies", "error")
    for name in needed:
        assert f"{name} (wanted by {VERSIONED}) is not found" in problem.what
    assert problem.mends == ("`sudo apt install libssl3 libsgx-dcap-default-qpl`",)


@pytest.mark.parametrize(
    ("needed", "mend"),
    [
        ("libcrypto.so.1.1", "install a newer release of the plugin"),
        ("libother.so.7", "install libother.so.7, and `sudo ldconfig`"),
    ],
)
def test_libraries_that_no_package_of_today_has(needed: str, mend: str, well: System) -> None:
    """OpenSSL 1.1 is gone from distributions; what we do not know is named as it is."""
    well.put(REAL, plugin("intel", needed=(needed,)))
    assert look(well).problems[0].mends[0].startswith(mend)


def test_intels_plugin_without_libcurl(well: System) -> None:
    """It is no NEEDED library: loading succeeds, every request fails."""
    remove(well, f"{MULTI_ARCH}/libcurl.so.4")
    (problem,) = look(well).problems
    assert (problem.code, problem.severity) == ("plugins-libcurl", "error")
    assert problem.mends == ("`sudo apt install libcurl4`",)
    well.put(f"{MULTI_ARCH}/libcurl.so", library(("curl_easy_init",)).read_bytes())
    assert look(well).problems == ()


def test_on_other_distributions_packages_have_other_names(system: System) -> None:
    """A root with rpm and without dpkg: dnf, and the package of that family."""
    system.put("/usr/bin/rpm")
    system.put(f"/usr/lib64/{VERSIONED}", plugin("intel"))
    assert problems(look(system))["plugins-libcurl"].mends == ("`sudo dnf install libcurl`",)


def test_a_plugin_of_another_release_than_its_library(well: System) -> None:
    """It calls what the installed network library does not export: Conclave binds all at once."""
    calls = "extern int sgx_qcnl_new(void);\nint call(void) { return sgx_qcnl_new(); }\n"
    name = "libsgx_default_qcnl_wrapper.so.1"
    well.put(REAL, library(INTEL, soname=VERSIONED, needed=(name,), code=calls).read_bytes())
    well.put(f"{MULTI_ARCH}/{name}", library(("sgx_qcnl_old",)).read_bytes())
    found = look(well)
    (problem,) = found.problems
    assert (problem.code, problem.severity) == ("plugins-unresolved", "error")
    assert "sgx_qcnl_new" in problem.what
    assert {one.consumer for one in found.consumers if not one.loads} == {"conclave"}
    well.put(f"{MULTI_ARCH}/{name}", library(("sgx_qcnl_new",)).read_bytes())
    assert look(well).problems == ()


def test_a_plugin_without_a_mandatory_symbol(well: System) -> None:
    """QVL refuses it, all others take it."""
    exports = tuple(one for one in INTEL if one != "sgx_ql_get_root_ca_crl")
    well.put(REAL, library(exports, soname=VERSIONED).read_bytes())
    (problem,) = look(well).problems
    assert (problem.code, problem.consumers) == ("plugins-symbols", ("qvl",))
    assert "sgx_ql_get_root_ca_crl" in problem.what


# ── row 7: the wrong plugin ─────────────────────────────────────────────────────────────────────


def test_two_plugins_in_use_on_one_host(system: System) -> None:
    """Intel's runtime and Azure's package: Open Enclave has another plugin than the rest."""
    system.intel()
    system.azure()
    problem = problems(look(system))["plugins-differ"]
    assert problem.severity == "error"
    assert "Azure's (2) by Open Enclave" in problem.what
    assert problem.mends == (
        "to avoid conflicts, uninstall the plugins that you don't need:",
        "without Intel's (1): `sudo apt remove libsgx-dcap-default-qpl`",
        "without Azure's (2): `sudo apt remove az-dcap-client`",
    )


@pytest.mark.parametrize("gone", ["intel", "azure"])
def test_uninstalling_one_ends_the_conflict(gone: str, system: System) -> None:
    """Either of the two commands that are told."""
    system.intel()
    system.azure()
    for path in (ONE, REAL) if gone == "intel" else (f"/usr/lib/{BARE}",):
        remove(system, path)
    assert "plugins-differ" not in problems(look(system))


def test_a_second_plugin_behind_the_first_is_named(well: System) -> None:
    """Azure's, masked for everybody by Intel's with its bare name."""
    well.azure()
    (problem,) = look(well).problems
    assert (problem.code, problem.severity) == ("plugins-several", "error")
    assert "Azure's (2) is loaded by none while Intel's (1) is there" in problem.what


def test_what_nobody_packaged_is_removed_by_hand(system: System) -> None:
    """A copy, its link beside a package's file: the commands say which is which."""
    system.intel()
    system.link(LINK, VERSIONED)
    system.put(f"/usr/local/lib/{BARE}", plugin("azure"))
    system.put("/etc/ld.so.conf", "/usr/local/lib\n")
    assert problems(look(system))["plugins-differ"].mends[1:] == (
        f"without Intel's (1): `sudo apt remove libsgx-dcap-default-qpl` and `sudo rm {LINK}`",
        f"without Azure's (2): `sudo rm /usr/local/lib/{BARE}`",
    )


def test_our_own_is_taken_away_by_our_own_command(well: System) -> None:
    """No package has it: `dcap provider uninstall` undoes what install did."""
    well.put(f"/usr/lib/{BARE}", plugin("dcap"))
    mends = problems(look(well))["plugins-several"].mends
    assert "without dcap's (2): `dcap provider uninstall`" in mends


def test_azures_plugin_elsewhere_than_in_azure(system: System) -> None:
    """The machine says of itself that it is another's; where it says nothing, nothing is said."""
    system.azure()
    assert "plugins-azure-elsewhere" not in problems(look(system))
    system.put(DMI, f"{AZURE_TAG}\n")
    assert "plugins-azure-elsewhere" not in problems(look(system))
    system.put(DMI, "Default string\n")
    assert problems(look(system))["plugins-azure-elsewhere"].severity == "advice"


def test_intels_plugin_in_azure(well: System) -> None:
    """It asks what its configuration says, which is not Azure's cache by itself."""
    well.put(DMI, "Default string\n")
    assert look(well).problems == ()
    well.put(DMI, f"{AZURE_TAG}\n")
    (problem,) = look(well).problems
    assert (problem.code, problem.severity) == ("plugins-not-azure", "advice")


def test_conclaves_own_plugin_is_masked_by_any_that_is_installed(well: System) -> None:
    """Told where its bundle is named: the package would have to go."""
    well.put(f"/opt/bundle/{VERSIONED}", plugin("azure"))
    found = discover(well.top, environ={}, bundle="/opt/bundle", only="conclave")
    (problem,) = (one for one in found.problems if one.code == "plugins-bundle-masked")
    assert problem.severity == "advice"
    assert "apt remove libsgx-dcap-default-qpl" in problem.mends[0]


# ── rows 8 and 9: noise ─────────────────────────────────────────────────────────────────────────


def test_azures_line_about_its_variable(system: System) -> None:
    """Any value of the variable silences it."""
    system.azure()
    problem = problems(look(system))["plugins-azure-noise"]
    assert problem.severity == "advice"
    assert "export AZDCAP_DEBUG_LOG_LEVEL=ERROR" in problem.mends[0]
    assert "plugins-azure-noise" not in problems(look(system, AZDCAP_DEBUG_LOG_LEVEL="FATAL"))


def test_aesmds_line_about_the_callback(system: System) -> None:
    """Azure's lacks the symbol, which is harmless; Intel's and ours have it."""
    system.azure()
    found = look(system)
    assert problems(found)["plugins-logging"].severity == "advice"
    assert not found.is_wrong
    system.put(f"/usr/lib/{BARE}", plugin("dcap"))
    assert "plugins-logging" not in problems(look(system))


# ── the table ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", list(PROBLEMS))
def test_a_row_can_be_told_without_a_system(code: str) -> None:
    """Every place of its sentences has words, for `dcap explain`, and each command is whole."""
    places = {**PLACES, **({"command": COMMANDS[code]} if code in COMMANDS else {})}
    for text in PROBLEMS[code]:
        told = text.format_map(places)
        assert told.count("`") % 2 == 0
        assert "{" not in told


def test_every_problem_of_the_table_is_met_by_a_test() -> None:
    """Each code stands in the tests of discovery."""
    here = Path(__file__).parent
    text = "".join(file.read_text(encoding="utf-8") for file in here.glob("test_discovery*.py"))
    assert [code for code in PROBLEMS if f'"{code}"' not in text] == []
