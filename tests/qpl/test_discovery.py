"""Which plugin each consumer would load: scratch roots, each consumer's own rule."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcap.errors import ConfigError
from dcap.qpl.consumers import BY_WORD, CONSUMERS
from dcap.qpl.discovery import conclave_choice, discover
from dcap.qpl.discovery_values import Choice, Discovery
from qpl.libraries import (
    AZURE,
    BARE,
    INTEL,
    MULTI_ARCH,
    VERSIONED,
    System,
    foreign,
    library,
    plugin,
)

PATHS = BY_WORD["conclave"].paths
BUNDLE = "/tmp/conclave-1"


@pytest.fixture
def system(tmp_path: Path) -> System:
    """An empty root."""
    return System(tmp_path)


def look(system: System, bundle: str | None = None, only: str | None = None) -> Discovery:
    """What is found under the root."""
    return discover(system.top, environ={}, bundle=bundle, only=only)


def choice(found: Discovery, consumer: str) -> Choice:
    """What that consumer loads."""
    (one,) = (one for one in found.consumers if one.consumer == BY_WORD[consumer].id)
    return one


def loaded(found: Discovery) -> dict[str, str]:
    """Consumer -> the path that it settles for, of those that find one."""
    return {one.consumer: one.path for one in found.consumers if one.path}


# ── Conclave ────────────────────────────────────────────────────────────────────────────────────


def test_conclave_looks_at_four_paths_in_this_order() -> None:
    """The multi-arch folder before /usr/lib, and `.so.1` before `.so` in each."""
    assert PATHS == (
        "/usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1",
        "/usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so",
        "/usr/lib/libdcap_quoteprov.so.1",
        "/usr/lib/libdcap_quoteprov.so",
    )


@pytest.mark.parametrize("present", list(itertools.product((True, False), repeat=4)))
def test_conclave_takes_the_first_of_the_four_that_is_there(
    present: tuple[bool, ...], system: System
) -> None:
    """Every combination: the first that is there, else the bundle's `.so.1`."""
    there = [path for path, is_there in zip(PATHS, present, strict=True) if is_there]
    for path in there:
        system.put(path, plugin("azure"))
    system.put(f"{BUNDLE}/{VERSIONED}", plugin("azure"))
    found = choice(look(system, BUNDLE), "conclave")
    expected = there[0] if there else f"{BUNDLE}/{VERSIONED}"
    assert found.path == expected
    assert conclave_choice(system.top, BUNDLE) == system.top / expected.lstrip("/")
    assert conclave_choice(system.top) == (system.top / there[0].lstrip("/") if there else None)


@pytest.mark.parametrize("dangling", range(4))
def test_conclave_passes_by_a_link_to_nothing(dangling: int, system: System) -> None:
    """`stat()` fails for it: the next path is taken, or the bundle."""
    for path in PATHS[: dangling + 1]:
        system.link(path, "/nowhere")
    for path in PATHS[dangling + 1 :]:
        system.put(path, plugin("azure"))
    system.put(f"{BUNDLE}/{BARE}", plugin("azure"))
    expected = (*PATHS[dangling + 1 :], f"{BUNDLE}/{BARE}")[0]
    assert choice(look(system, BUNDLE), "conclave").path == expected


@pytest.mark.parametrize("broken", [foreign, lambda: b"no library", lambda: b""])
def test_conclave_tries_no_other_where_the_first_cannot_be_loaded(
    broken: object, system: System
) -> None:
    """Neither a later path nor its bundle: the first that is there is the one that fails."""
    system.put(PATHS[0], broken())  # type: ignore[operator]
    system.put(PATHS[2], plugin("intel"))
    system.put(f"{BUNDLE}/{VERSIONED}", plugin("azure"))
    found = choice(look(system, BUNDLE), "conclave")
    assert (found.path, found.loads) == (PATHS[0], False)
    assert found.why


def test_conclave_takes_its_own_where_nothing_is_installed(system: System) -> None:
    """Where its bundle is not said, that is no failure: it brings one."""
    found = choice(look(system), "conclave")
    assert (found.own, found.is_served, found.plugin) == (True, True, None)
    assert not choice(look(system, BUNDLE), "conclave").is_served  # a folder without one


@pytest.mark.parametrize("folder", ["/usr/lib64", "/usr/local/lib", "/lib/x86_64-linux-gnu"])
def test_conclave_looks_nowhere_else(folder: str, system: System) -> None:
    """Not even where the loader would."""
    system.put(f"{folder}/{VERSIONED}", plugin("intel"))
    assert choice(look(system), "conclave").own
    assert conclave_choice(system.top) is None


# ── the others ──────────────────────────────────────────────────────────────────────────────────


def test_a_machine_with_intels_runtime_package(system: System) -> None:
    """All but Open Enclave, which wants the bare name that only -dev brings."""
    system.intel()
    found = look(system)
    path = f"{MULTI_ARCH}/{VERSIONED}"
    assert loaded(found) == dict.fromkeys(("conclave", "qe3", "qgsd", "qvl", "samples"), path)
    assert [one.kind for one in found.plugins] == ["intel"]


def test_with_the_dev_package_open_enclave_has_it_too(system: System) -> None:
    """One file under two names is one plugin, used by all."""
    system.intel(bare=True)
    found = look(system)
    assert {one.plugin for one in found.consumers} == {1}
    assert choice(found, "ego").path == f"{MULTI_ARCH}/{BARE}"
    assert found.problems == ()


def test_a_machine_with_azures_package(system: System) -> None:
    """All but those that know no other name than `.so.1`."""
    system.azure()
    found = look(system)
    path = f"/usr/lib/{BARE}"
    assert loaded(found) == dict.fromkeys(("conclave", "open-enclave", "qe3", "qvl"), path)
    assert [(one.kind, one.soname) for one in found.plugins] == [("azure", "")]


def test_with_both_packages_programs_load_different_plugins(system: System) -> None:
    """Open Enclave takes Azure's `.so`, all others Intel's `.so.1`; with -dev all take Intel's."""
    system.intel()
    system.azure()
    kinds = {one.consumer: one.kind for one in look(system).consumers}
    assert kinds == {one.id: "azure" if one.id == "open-enclave" else "intel" for one in CONSUMERS}
    system.link(f"{MULTI_ARCH}/{BARE}", VERSIONED)
    assert {one.kind for one in look(system).consumers} == {"intel"}


@pytest.mark.parametrize("kind", ["intel", "azure", "dcap", "unknown"])
def test_a_plugins_kind_is_told_by_what_it_exports(kind: str, system: System) -> None:
    """Ours exports what both others do: its own symbol is asked first."""
    system.put(PATHS[0], plugin(kind))
    assert [one.kind for one in look(system).plugins] == [kind]


def test_quoting_tries_the_bare_name_where_the_first_cannot_be_loaded(system: System) -> None:
    """QE and QVL: `.so.1` that lacks a library, then `.so`; qgsd has no second name, and fails."""
    system.put(f"{MULTI_ARCH}/{VERSIONED}", plugin("intel", needed=("libgone.so.1",)))
    system.put(f"/usr/lib/{BARE}", plugin("azure"))
    found = look(system)
    for consumer in ("qe3", "qvl"):
        assert choice(found, consumer).path == f"/usr/lib/{BARE}"
        assert choice(found, consumer).loads
    assert choice(found, "qgsd").path == f"{MULTI_ARCH}/{VERSIONED}"
    assert choice(found, "qgsd").why == "libgone.so.1 is not found"


@pytest.mark.parametrize("consumer", [one.id for one in CONSUMERS if one.id != "open-enclave"])
def test_a_plugin_without_a_symbol_that_is_needed_is_refused(consumer: str, system: System) -> None:
    """Each of the consumer's mandatory symbols, taken away, and no other name is tried."""
    for symbol in BY_WORD[consumer].needs:
        exports = tuple(one for one in INTEL if one != symbol)
        system.put(f"{MULTI_ARCH}/{VERSIONED}", library(exports).read_bytes())
        found = choice(look(system, only=consumer), consumer)
        assert (found.loads, found.lacks) == (False, (symbol,))
        assert symbol in found.why


def test_what_a_plugin_lacks_and_can_be_done_without_is_said(system: System) -> None:
    """Open Enclave loads a plugin without TDX; what then does not work is named."""
    exports = tuple(one for one in AZURE if not one.startswith("tdx_"))
    system.put(f"/usr/lib/{BARE}", library(exports).read_bytes())
    found = choice(look(system), "open-enclave")
    assert found.loads
    assert set(found.without) == {
        "tdx_ql_get_quote_verification_collateral",
        "tdx_ql_free_quote_verification_collateral",
    }


def test_each_path_that_was_looked_at_is_told(system: System) -> None:
    """In the consumer's order, with what came of it."""
    system.link(PATHS[0], "/nowhere")
    system.put(PATHS[2], plugin("intel"))
    steps = choice(look(system), "conclave").steps
    assert [(step.path, step.said) for step in steps] == [
        (PATHS[0], "a link to nothing: passed by"),
        (PATHS[1], "not there"),
        (PATHS[2], "taken"),
    ]


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def test_links_are_followed_within_the_root(system: System) -> None:
    """An absolute link of an image means the image's file, and `..` does not climb out of it."""
    system.put("/opt/intel/provider.so", plugin("intel"))
    system.link(PATHS[0], "/opt/intel/provider.so")
    system.link(PATHS[2], "../../../../../opt/intel/provider.so")
    found = look(system)
    assert [one.real for one in found.plugins] == ["/opt/intel/provider.so"]
    assert [name.path for name in found.plugins[0].names] == [PATHS[0], PATHS[2]]
    assert conclave_choice(system.top) == system.top / "opt/intel/provider.so"


def test_a_folder_that_is_a_link_is_one_folder(system: System) -> None:
    """Merged /usr: /lib/x86_64-linux-gnu and /usr/lib/x86_64-linux-gnu hold one plugin, not two."""
    system.intel()
    system.link("/lib", "usr/lib")
    found = look(system)
    assert [[name.path for name in one.names] for one in found.plugins] == [[PATHS[0]]]


def test_links_in_a_ring_end(system: System) -> None:
    """They lead to nothing, as `stat()` has it."""
    system.link(PATHS[0], VERSIONED)
    (found,) = look(system).plugins
    assert found.state == "dangling"


@pytest.fixture
def nobody() -> Iterator[System]:
    """An empty root of somebody who is not root, and may not read everything."""
    plugin("intel"), plugin("azure")  # built as who we are
    with tempfile.TemporaryDirectory() as folder:
        before = os.geteuid()
        os.chmod(folder, 0o777)  # noqa: PTH101 - of a name
        if before == 0:
            os.seteuid(65534)
        try:
            yield System(Path(folder))
        finally:
            os.seteuid(before)


def test_a_file_that_may_not_be_read_is_told_as_such(nobody: System) -> None:
    """It is there, so Conclave takes it, and fails; the loader passes it by."""
    plugin_ = nobody.put(PATHS[0], plugin("intel"))
    assert look(nobody).plugins[0].state == "ok"
    plugin_.chmod(0)
    found = look(nobody)
    assert found.plugins[0].state == "denied"
    assert (choice(found, "conclave").path, choice(found, "conclave").loads) == (PATHS[0], False)
    assert choice(found, "qgsd").plugin is None
    assert [(one.code, one.severity) for one in found.problems] == [("plugins-denied", "error")]


def test_a_folder_that_may_not_be_searched_hides_what_it_holds(nobody: System) -> None:
    """`stat()` fails for Conclave, which goes on."""
    nobody.put(PATHS[0], plugin("intel"))
    nobody.put(PATHS[3], plugin("azure"))
    folder = nobody.top / MULTI_ARCH.lstrip("/")
    folder.chmod(0)
    found = look(nobody)
    folder.chmod(0o755)
    assert choice(found, "conclave").path == PATHS[3]


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A typing error in --root is no machine without plugins."""
    with pytest.raises(ConfigError) as raised:
        discover(tmp_path / "gone", environ={})
    assert raised.value.code == "plugins-root"


def test_only_one_consumer_is_looked_at_where_one_is_named(system: System) -> None:
    """By its id or any other of its words; it is then reckoned with, seen or not."""
    for word, consumer in BY_WORD.items():
        (found,) = look(system, only=word).consumers
        assert (found.consumer, found.presumed) == (consumer.id, True)


@pytest.mark.parametrize("trace", BY_WORD["qgsd"].traces or ())
def test_qgsd_is_reckoned_with_where_it_has_left_a_trace(trace: str, system: System) -> None:
    """Its configuration, its program or its library; without them it is thought not to be here."""
    assert not choice(look(system), "qgsd").presumed
    system.put(trace)
    assert choice(look(system), "qgsd").presumed


# ── packages ────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_its_packages(system: System) -> None:
    """By dpkg's lists; a link that somebody made by hand is of none."""
    system.intel()
    system.link(f"{MULTI_ARCH}/{BARE}", VERSIONED)
    (found,) = look(system).plugins
    assert found.owner.name == "libsgx-dcap-default-qpl"
    assert [(name.path, name.owner.name) for name in found.names] == [
        (f"{MULTI_ARCH}/{VERSIONED}", "libsgx-dcap-default-qpl"),
        (f"{MULTI_ARCH}/{BARE}", ""),
    ]


def test_a_list_with_the_other_name_of_a_merged_folder_counts(system: System) -> None:
    """A package that ships /lib/… owns /usr/lib/… where the one is a link to the other."""
    system.link("/lib", "usr/lib")
    system.put(f"/usr/lib/{BARE}", plugin("azure"))
    system.package("az-dcap-client:amd64", f"/lib/{BARE}")
    assert look(system).plugins[0].owner.name == "az-dcap-client"


def test_a_diverted_file_is_still_its_packages(system: System) -> None:
    """`dpkg-divert` moved Azure's away for ours, which is then of no package."""
    aside = f"/usr/lib/{VERSIONED}"
    system.azure()
    (system.top / f"usr/lib/{BARE}").rename(system.top / aside.lstrip("/"))
    system.put(f"/usr/lib/{BARE}", plugin("dcap"))
    system.put("/var/lib/dpkg/diversions", f"/usr/lib/{BARE}\n{aside}\n:\n")
    owners = {name.path: name.owner for one in look(system).plugins for name in one.names}
    assert owners[aside].name == "az-dcap-client"
    assert owners[aside].diverted_from == f"/usr/lib/{BARE}"
    assert owners[f"/usr/lib/{BARE}"].manager == "none"


def test_what_only_rpm_would_know_is_said_to_be_unknown(system: System) -> None:
    """Its database is not read: the owner is neither a package nor none."""
    system.put("/var/lib/rpm/rpmdb.sqlite")
    system.put(f"/usr/lib64/{VERSIONED}", plugin("intel"))
    owner = look(system).plugins[0].owner
    assert (owner.manager, owner.name) == ("rpm", "")
