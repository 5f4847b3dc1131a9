"""`dcap.pccs.rates`: how much one address may ask for."""

from dcap.pccs.rates import MAX_ADDRESSES, Rates, Shared, network_of


def test_a_burst_and_then_a_steady_rate() -> None:
    """So many at once, then so many a second; another address has its own."""
    rates = Rates(2, 3)
    assert [rates.takes("10.0.0.1", 0.0) for _ in range(4)] == [True, True, True, False]
    assert rates.takes("10.0.0.2", 0.0)
    assert [rates.takes("10.0.0.1", 1.0) for _ in range(3)] == [True, True, False]
    # Who was away for long has the burst again, and no more.
    assert [rates.takes("10.0.0.1", 999.0) for _ in range(4)] == [True, True, True, False]


def test_all_addresses_together_have_a_bucket_too() -> None:
    """Four for each, and those of two for all: the third address is refused; 3 a second come back."""
    rates = Shared(1.5, 4, 2)
    took = [rates.takes(f"10.0.0.{n}", 0.0, 4) for n in range(3)]
    assert took == [True, True, False]
    assert rates.takes("10.0.0.9", 1.0, 3)
    assert not rates.takes("10.0.0.8", 1.0)


def test_zero_is_no_limit() -> None:
    """Who sets no rate has none."""
    rates = Rates(0, 1)
    assert all(rates.takes("10.0.0.1", 0.0) for _ in range(100))


def test_addresses_of_ipv6_count_by_their_network() -> None:
    """Who has a /64 has no more than who has one address."""
    assert network_of("2001:db8::1") == network_of("2001:db8::2:3") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1")
    assert network_of("not:an:address") == "not:an:address"


def test_the_table_of_addresses_has_an_end() -> None:
    """Many addresses do not fill the memory: the oldest is forgotten."""
    rates = Rates(1, 1)
    for number in range(MAX_ADDRESSES + 10):
        rates.takes(str(number), 0.0)
    assert rates.takes("0", 0.0)
    assert not rates.takes(str(MAX_ADDRESSES + 9), 0.0)
