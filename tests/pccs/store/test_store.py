"""What a store keeps, and what it answers: the same in every database."""

from contextlib import closing
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import text, update

from dcap.pccs.items import (
    CrlKey,
    FmspcsKey,
    Holding,
    IdentityKey,
    Item,
    PckCrlKey,
    RawTcb,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.store.collateral import Standing
from dcap.pccs.store.database import Database
from dcap.pccs.store.platforms import MAX_RAW_TCBS
from dcap.pccs.store.registrations import BESIDE
from dcap.pccs.store.schema import PLATFORMS
from dcap.pccs.store.store import Store
from pccs.store.samples import (
    AT,
    CHAIN,
    CPU_SVN,
    FMSPC,
    PCE_SVN,
    holding,
    item,
    policy,
    qe_id,
    registration,
    tcbm,
)


def kept(store: Store, number: int = 0) -> Holding | None:
    """A machine as it is kept, its revision aside."""
    found = store.platforms.holding(qe_id(number), "0000")
    return None if found is None else msgspec.structs.replace(found, revision=0)


# Items


def test_an_item_comes_back_as_it_was(store: Store) -> None:
    """Every byte and every field of an item is kept; what is absent stays absent."""
    bare = Item(key=FmspcsKey(), body=b"[]", fetched_at=AT, origin="import")
    big = item(CrlKey("https://" + "x" * 2040), bytes(range(256)) * 1000, number=2**159)
    store.items.put(item(), bare, big)
    assert store.items.get(RootCrlKey()) == item()
    assert store.items.get(FmspcsKey()) == bare
    assert store.items.get(big.key) == big
    assert store.items.get(PckCrlKey("PLATFORM")) is None


def test_each_item_keeps_its_own_chain(store: Store) -> None:
    """A new chain that comes with one item leaves the others with theirs."""
    old, new = item(IdentityKey("QE")), item(IdentityKey("QVE"))
    store.items.put(old, new)
    renewed = msgspec.structs.replace(new, issuer_chain=b"another signer")
    store.items.put(renewed)
    assert store.items.get(old.key) == old
    assert store.items.get(new.key) == renewed


def test_a_later_item_takes_the_place(store: Store) -> None:
    """Under one key there is one item, the last that was put."""
    store.items.put(item(body=b"one"))
    store.items.put(item(body=b"two"))
    assert store.items.get(RootCrlKey()) == item(body=b"two")
    assert store.statistics().items == 1


def test_whoever_puts_decides_beside_what_is_kept(store: Store) -> None:
    """`accept` sees the age of what is kept now, and its refusal leaves that in place."""
    seen: list[Standing | None] = []

    def newer(offered: Item, present: Standing | None) -> bool:
        seen.append(present)
        return present is None or (offered.number or 0) >= (present.number or 0)

    kept = item(number=17)
    assert store.items.put(kept, accept=newer)
    assert store.items.put(item(number=16), accept=newer) == ()
    assert seen == [None, Standing(issued=kept.issued, expires=kept.expires, number=17)]
    assert store.items.get(RootCrlKey()) == kept


def test_what_is_dropped_is_still_known_to_have_been(store: Store) -> None:
    """Its age stands for it until something is kept again, or it is forgotten by hand."""
    seen: list[int | None] = []

    def note(_offered: Item, present: Standing | None) -> bool:
        seen.append(None if present is None else present.number)
        return False

    kept = item(number=17)
    store.items.put(kept)
    assert store.items.drop(item(number=16)) == ()
    assert store.items.drop(kept) == (kept,)
    assert store.items.get(kept.key) is None
    store.items.put(item(), accept=note)
    store.items.put(item(number=18))
    store.items.put(item(), accept=note)
    store.items.drop(item(number=18))
    store.items.delete(kept.key)
    store.items.put(item(), accept=note)
    assert seen == [17, 18, None]


def test_items_are_put_all_or_none(store: Store) -> None:
    """An error while items are put leaves nothing of them behind."""

    def refuse(offered: Item, _present: Standing | None) -> bool:
        if offered.key == FmspcsKey():
            raise KeyError
        return True

    before = store.changes()
    with pytest.raises(KeyError):
        store.items.put(item(), item(FmspcsKey()), accept=refuse)
    assert store.items.get(RootCrlKey()) is None
    assert store.changes() == before


def test_summaries_tell_what_is_kept(store: Store) -> None:
    """The list has each item's key, size, dates and number, by key."""
    early = item(TcbInfoKey("SGX", FMSPC, update="EARLY"), b"12345", number=None)
    store.items.put(item(TcbInfoKey("SGX", FMSPC)), early)
    listed = store.items.summaries()
    assert [one.key for one in listed] == [early.key, TcbInfoKey("SGX", FMSPC)]
    assert (listed[0].size, listed[0].number, listed[0].expires) == (5, None, early.expires)
    assert store.items.delete(early.key, RootCrlKey()) == 1
    assert len(store.items.summaries()) == 1


# Machines


def test_a_machine_and_its_raw_tcb_are_answered(store: Store) -> None:
    """A known raw TCB is answered by the certificate that it reaches, with all that goes with it."""
    store.platforms.put(holding())
    answer = store.platforms.answer(qe_id(0), "0000", CPU_SVN, PCE_SVN)
    assert answer is not None
    assert answer.certificate == holding().certificates[1].pem
    assert (answer.tcbm, answer.fmspc, answer.ca) == (tcbm(1), FMSPC, "PLATFORM")
    assert answer.issuer_chain == CHAIN


def test_an_unknown_machine_is_not_a_new_raw_tcb(store: Store) -> None:
    """A machine that is not kept has no answer; of one that is, a new raw TCB has no certificate."""
    store.platforms.put(holding())
    assert store.platforms.answer(qe_id(1), "0000", CPU_SVN, PCE_SVN) is None
    assert store.platforms.answer(qe_id(0), "0100", CPU_SVN, PCE_SVN) is None
    fresh = store.platforms.answer(qe_id(0), "0000", "FF" * 16, PCE_SVN)
    assert fresh is not None
    assert (fresh.certificate, fresh.tcbm, fresh.fmspc) == (None, None, FMSPC)


def test_a_raw_tcb_without_its_certificate_is_new(store: Store) -> None:
    """Where the certificate that was selected is no longer there, one is to be selected again."""
    store.platforms.put(holding(reached=99))
    answer = store.platforms.answer(qe_id(0), "0000", CPU_SVN, PCE_SVN)
    assert answer is not None
    assert (answer.certificate, answer.tcbm) == (None, None)


def test_a_machine_comes_back_as_it_was(store: Store) -> None:
    """Certificates keep their order, their bytes and the fields that selection goes by."""
    given = holding(certificates=20)
    store.platforms.put(given)
    assert kept(store) == given
    assert store.platforms.get(qe_id(0), "0000") == given.platform
    assert store.platforms.get(qe_id(1), "0000") is None


def test_a_machine_is_replaced_as_one(store: Store) -> None:
    """What is put takes the place of all certificates and raw TCBs; other machines keep theirs."""
    store.platforms.put(holding(0), holding(1))
    another = holding(0, certificates=1, mark="new", reached=0, chain=b"another chain")
    store.platforms.put(another)
    assert kept(store, 0) == another
    assert kept(store, 1) == holding(1)
    assert store.statistics().platforms == 2


def test_names_are_compared_byte_by_byte(store: Store) -> None:
    """No database makes two QE ids one: not by case, final blanks, accents or a NUL."""
    names = ["AB", "ab", "AB ", "ÀB", "A\u0300B", "AB\0", "AB\0\0", "%", "_B", "ÄB" * 130]
    for number, name in enumerate(names):
        given = holding(number)
        named = msgspec.structs.replace(given.platform, qe_id=name)
        store.platforms.put(msgspec.structs.replace(given, platform=named))
    assert store.statistics().platforms == len(names)
    for number, name in enumerate(names):
        answer = store.platforms.answer(name, "0000", CPU_SVN, PCE_SVN)
        assert answer is not None
        assert answer.certificate == holding(number).certificates[1].pem


def test_a_selection_is_remembered(store: Store) -> None:
    """A raw TCB that was remembered is answered, and changes no other answer."""
    store.platforms.put(holding())
    found = store.platforms.holding(qe_id(0), "0000")
    assert found is not None
    before = store.changes()
    raw = RawTcb(cpu_svn="FF" * 16, pce_svn="0C00", tcbm=tcbm(2))
    assert store.platforms.remember(qe_id(0), "0000", raw, revision=found.revision)
    answer = store.platforms.answer(qe_id(0), "0000", "FF" * 16, "0C00")
    assert answer is not None
    assert answer.tcbm == tcbm(2)
    after = store.changes()
    assert after.number == before.number + 1
    assert after.platforms == before.platforms


def test_a_selection_among_replaced_certificates_is_dropped(store: Store) -> None:
    """What was selected before the certificates were replaced is not remembered after."""
    store.platforms.put(holding())
    found = store.platforms.holding(qe_id(0), "0000")
    assert found is not None
    store.platforms.put(holding(mark="new"))
    raw = RawTcb(cpu_svn="FF" * 16, pce_svn="0C00", tcbm=tcbm(2))
    assert not store.platforms.remember(qe_id(0), "0000", raw, revision=found.revision)
    answer = store.platforms.answer(qe_id(0), "0000", "FF" * 16, "0C00")
    assert answer is not None
    assert answer.certificate is None


def test_only_so_many_raw_tcbs_of_a_machine_are_remembered(store: Store) -> None:
    """What anybody invents fills no database; what is known already is remembered anew."""
    store.platforms.put(holding())
    found = store.platforms.holding(qe_id(0), "0000")
    assert found is not None
    for number in range(MAX_RAW_TCBS + 5):
        raw = RawTcb(cpu_svn=f"{number:032X}", pce_svn="0C00", tcbm=tcbm(2))
        assert store.platforms.remember(qe_id(0), "0000", raw, revision=found.revision)
    assert len((kept(store) or found).raw_tcbs) == MAX_RAW_TCBS
    first = RawTcb(cpu_svn=f"{0:032X}", pce_svn="0C00", tcbm=tcbm(0))
    assert store.platforms.remember(qe_id(0), "0000", first, revision=found.revision)
    assert first in (kept(store) or found).raw_tcbs


def test_a_machine_that_was_replaced_meanwhile_is_not_replaced(store: Store) -> None:
    """Whoever judged by what was kept judges again."""
    assert store.platforms.replace(holding(), None)
    seen = store.platforms.holding(qe_id(0), "0000")
    assert not store.platforms.replace(holding(mark="other"), None)
    store.platforms.put(holding(mark="new"))
    assert not store.platforms.replace(holding(mark="other"), seen)
    assert kept(store) == holding(mark="new")
    assert store.platforms.replace(holding(mark="other"), store.platforms.holding(qe_id(0), "0000"))


def test_when_certificates_expire_and_who_named_the_machine_is_kept(store: Store) -> None:
    """The first expiry of all machines; who may register said that it has these ids."""
    assert store.platforms.first_expiry() is None
    for number in range(3):
        given = holding(number)
        ends = msgspec.structs.replace(given.platform, expires=AT + timedelta(days=number))
        store.platforms.put(msgspec.structs.replace(given, platform=ends))
    assert store.platforms.first_expiry() == AT
    assert store.platforms.count_expired(AT + timedelta(days=1)) == 2
    assert store.platforms.set_registered(qe_id(1), "0000")
    assert not store.platforms.set_registered(qe_id(9), "0000")
    known = {one.platform.qe_id: one.platform.is_registered for one in store.platforms.each()}
    assert known == {qe_id(0): False, qe_id(1): True, qe_id(2): False}


def test_who_was_looked_up_and_asks_no_more_is_forgotten(store: Store) -> None:
    """Neither who is registered, nor of whom that or the last request is not known."""
    store.platforms.put(*map(holding, range(5)))
    store.platforms.saw([(qe_id(number), "0000") for number in range(4)], AT)
    store.platforms.saw([(qe_id(1), "0000")], AT + timedelta(days=1))
    assert store.platforms.set_registered(qe_id(2), "0000")
    with store.database.engine.begin() as connection:
        older = update(PLATFORMS).where(PLATFORMS.c.qe_id == qe_id(3))
        connection.execute(older.values(is_registered=None))
    assert store.platforms.prune(AT) == 0
    assert store.platforms.prune(AT + timedelta(days=1)) == 1
    left = [one.platform.qe_id for one in store.platforms.each()]
    assert left == [qe_id(number) for number in range(1, 5)]


def test_a_manifest_is_adopted(store: Store) -> None:
    """A known machine takes the manifest it comes with; of an unknown one nothing is kept."""
    store.platforms.put(holding())
    assert store.platforms.set_manifest(qe_id(0), "0000", b"later")
    assert not store.platforms.set_manifest(qe_id(1), "0000", b"later")
    found = store.platforms.get(qe_id(0), "0000")
    assert found is not None
    assert found.manifest == b"later"


def test_a_machine_is_forgotten(store: Store) -> None:
    """Nothing of a machine is left once it is deleted."""
    store.platforms.put(holding(0), holding(1))
    assert store.platforms.delete(qe_id(0), "0000")
    assert not store.platforms.delete(qe_id(0), "0000")
    assert kept(store, 0) is None
    assert kept(store, 1) == holding(1)


def test_every_machine_is_listed(store: Store) -> None:
    """Listing goes through all pages, by FMSPC where that is asked, with or without certificates."""
    other = bytes.fromhex("90C06F000000")
    count = store.platforms.put_many(
        (holding(number, fmspc=other if number % 3 else FMSPC) for number in range(1100)),
        batch=400,
    )
    assert count == 1100
    assert len({one.platform.qe_id for one in store.platforms.each()}) == 1100
    some = list(store.platforms.each([FMSPC]))
    assert len(some) == 367
    assert (some[0].certificates, some[0].raw_tcbs) == ((), holding().raw_tcbs)
    assert next(store.platforms.holdings([FMSPC])).certificates == holding().certificates
    assert list(store.platforms.each([])) == []
    assert store.platforms.count_by_fmspc() == {FMSPC: 367, other: 733}


# The queue


def test_the_queue_is_read_without_emptying_it(store: Store) -> None:
    """`list` gives the oldest first, each time."""
    store.registrations.add(registration(2), registration(1))
    store.registrations.add(registration(3, state="NOT_AVAILABLE"))
    for _ in range(2):
        assert store.registrations.list() == (registration(1), registration(2))
    assert store.registrations.list("NOT_AVAILABLE") == (registration(3, state="NOT_AVAILABLE"),)


def test_the_queue_is_handed_out_once(store: Store) -> None:
    """`take` gives what is new and marks it; the other states stay."""
    store.registrations.add(registration(1), registration(2, state="NOT_AVAILABLE"))
    assert store.registrations.take(at=AT) == (registration(1),)
    assert store.registrations.take(at=AT) == ()
    marked = msgspec.structs.replace(registration(1, state="DELETED"), handed_out=AT)
    assert store.registrations.list("DELETED") == (marked,)
    assert store.registrations.list("NOT_AVAILABLE") != ()


def test_what_intel_has_no_certificate_for_stays_known_when_it_is_handed_out(store: Store) -> None:
    """It is read once; that Intel owes it is no less true after that."""
    waits = registration(1, state="NOT_AVAILABLE")
    store.registrations.add(waits)
    assert store.registrations.take("NOT_AVAILABLE", at=AT) == (waits,)
    assert store.registrations.list("NOT_AVAILABLE") == ()
    assert len(store.registrations.of_machine(waits.qe_id, "0000", "NOT_AVAILABLE")) == 1
    assert store.registrations.prune(AT + timedelta(days=1)) == 0


def test_no_more_is_handed_out_than_can_be_read(store: Store) -> None:
    """The rest stays in the queue, and whoever asks again has it."""
    waiting = [registration(number) for number in range(5)]
    store.registrations.add(*waiting)
    assert store.registrations.take(at=AT, most_bytes=1200) == tuple(waiting[:2])
    assert store.registrations.list() == tuple(waiting[2:])
    assert store.registrations.take(at=AT, most_bytes=1) == (waiting[2],)
    assert store.registrations.take(at=AT) == tuple(waiting[3:])


def test_a_machine_of_the_same_name_overwrites_none_in_the_queue(store: Store) -> None:
    """With another PPID it stands beside it; of more than a few the last is replaced."""
    same = [
        msgspec.structs.replace(
            registration(number), qe_id=qe_id(0), encrypted_ppid=bytes([number])
        )
        for number in range(BESIDE + 2)
    ]
    assert store.registrations.enter(same[0]) == "waiting"
    assert store.registrations.enter(same[0]) == "waiting"
    assert [store.registrations.enter(one) for one in same[1:]] == ["beside"] * (BESIDE + 1)
    assert store.registrations.list() == (*same[: BESIDE - 1], same[-1])


def test_a_full_queue_takes_nobody_new(store: Store) -> None:
    """Who stands in it may come again."""
    store.registrations.most = 2
    assert store.registrations.enter(registration(0)) == "waiting"
    assert store.registrations.enter(registration(1)) == "waiting"
    assert store.registrations.enter(registration(2)) == "full"
    assert store.registrations.enter(registration(1)) == "waiting"
    assert store.statistics().registrations == {"NEW": 2}


def test_who_has_its_certificates_is_crossed_off(store: Store) -> None:
    """What waits with another raw TCB, and other machines, go on waiting."""
    other = msgspec.structs.replace(registration(1), cpu_svn="FF" * 16)
    by_manifest = msgspec.structs.replace(
        registration(1), cpu_svn="", pce_svn="", manifest=b"its own"
    )
    store.registrations.add(registration(1), other, by_manifest, registration(2))
    reached = {(CPU_SVN, PCE_SVN)}
    assert store.registrations.cross_off(qe_id(1), "0000", reached, b"another") == 1
    assert set(store.registrations.list()) == {other, by_manifest, registration(2)}
    assert store.registrations.cross_off(qe_id(1), "0000", (), b"its own") == 1
    assert set(store.registrations.list()) == {other, registration(2)}


def test_a_machine_queues_once(store: Store) -> None:
    """The same machine with the same raw TCB is one row, new again; another raw TCB is another."""
    store.registrations.add(registration(1))
    store.registrations.take(at=AT)
    other = msgspec.structs.replace(registration(1), cpu_svn="FF" * 16)
    store.registrations.add(registration(1), other)
    assert len(store.registrations.list()) == 2
    assert store.statistics().registrations == {"NEW": 2}


def test_a_row_of_the_queue_is_changed_by_itself(store: Store) -> None:
    """One registration changes its state, or goes; those around it stay."""
    store.registrations.add(registration(1), registration(2), registration(3))
    assert store.registrations.cross_off(qe_id(1), "0000", {(CPU_SVN, PCE_SVN)}, None) == 1
    assert store.registrations.delete(registration(2))
    assert not store.registrations.delete(registration(2))
    assert store.registrations.forget(qe_id(4), "0000") == 0
    assert store.statistics().registrations == {"DELETED": 1, "NEW": 1}
    assert store.registrations.forget(qe_id(1), "0000") == 1
    assert store.statistics().registrations == {"NEW": 1}


def test_only_what_was_handed_out_is_pruned(store: Store) -> None:
    """Old rows that nobody fetched stay, however old."""
    store.registrations.add(registration(1, state="DELETED"), registration(2))
    assert store.registrations.prune(AT + timedelta(days=1)) == 1
    assert store.registrations.list() == (registration(2),)


# Policies


def test_an_fmspc_has_one_default_policy(store: Store) -> None:
    """A new default takes the place of the old one, of its FMSPC alone."""
    elsewhere = policy("c", fmspc=bytes(6))
    for one in (policy("a"), elsewhere, policy("b")):
        store.policies.put(one)
    assert store.policies.defaults(FMSPC) == (policy("b"),)
    assert store.policies.defaults(bytes(6)) == (elsewhere,)
    assert store.policies.get(policy("a").id) == policy("a", is_default=False)
    assert len(store.policies.list()) == 3
    assert store.policies.delete(elsewhere.id)
    assert store.policies.defaults(bytes(6)) == ()


# Changes, and what is left over


def test_every_write_is_counted(store: Store) -> None:
    """Each kind of write moves the change number and its own counter; reading moves none."""
    seen = [store.changes()]
    writes = {
        "items": lambda: store.items.put(item()),
        "platforms": lambda: store.platforms.put(holding()),
        "registrations": lambda: store.registrations.add(registration()),
        "policies": lambda: store.policies.put(policy()),
    }
    for topic, write in writes.items():
        write()
        seen.append(store.changes())
        assert store.change_number() == seen[-2].number + 1
        moved = [name for name in writes if getattr(seen[-1], name) != getattr(seen[-2], name)]
        assert moved == [topic]


def test_chains_that_nothing_goes_with_are_pruned(store: Store) -> None:
    """A chain is kept once for all that came with it, and as long as one of them is there."""
    store.items.put(item(), msgspec.structs.replace(item(FmspcsKey()), issuer_chain=b"other"))
    store.platforms.put(holding(chain=b"third"), holding(1))
    assert store.statistics().chains == 3
    store.items.delete(RootCrlKey(), FmspcsKey())
    assert store.prune() == 1
    assert kept(store) == holding(chain=b"third")
    assert kept(store, 1) == holding(1)


@pytest.mark.parametrize("road", ["read", "read_row"])
def test_a_connection_that_died_while_nobody_used_it_is_replaced(url: str, road: str) -> None:
    """Whichever way it is asked next, the answer comes by another; no driver's error leaves."""
    if url.startswith("sqlite"):
        pytest.skip("a file has no connection that could die")
    with closing(Database.at(url)) as database:
        ask = getattr(database, road)
        assert ask(lambda connection: connection.scalar(text("SELECT 1"))) == 1
        idle = database.engine.raw_connection()
        driver = idle.driver_connection
        idle.close()
        assert driver is not None
        driver.close()
        assert ask(lambda connection: connection.scalar(text("SELECT 2"))) == 2


def test_what_is_held_while_a_database_closes_is_closed_when_it_comes_back(url: str) -> None:
    """A thread may be asking still; its connection is not left for the garbage collector."""
    with closing(Database.at(url)) as database:
        held, idle = database.engine.raw_connection(), database.engine.raw_connection()
        drivers = [held.driver_connection, idle.driver_connection]
        idle.close()
        database.close()
        held.close()
    for driver in drivers:
        assert driver is not None
        with pytest.raises(database.engine.dialect.loaded_dbapi.Error):
            driver.cursor().execute("SELECT 1")
