"""`dcap.pccs.metrics`: counters that workers share, and the text that Prometheus reads."""

import os
import re

from dcap.pccs.metrics import BUCKETS, Counted, Counters, Figure, Sample, write_figures

LINE = re.compile(r'([a-z_]+)(?:\{([a-z_]+="[^"]*",?)*\})? (\S+)')


def values(counters: Counters) -> dict[str, float]:
    """Each line of the text, its labels included, and its value; comments must fit what follows."""
    found, kinds = {}, {}
    for line in write_figures(counters.figures()).decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = LINE.fullmatch(line)
            assert match, line
            base = re.sub("_(bucket|sum|count)$", "", match[1])
            assert match[1] in kinds or kinds[base] == "histogram"
            key, _, value = line.rpartition(" ")
            found[key] = float(value)
    return found


def test_what_is_counted_is_told() -> None:
    """Answers by status, those that were ready apart from those that were computed."""
    counters = Counters()
    for _ in range(3):
        counters.add(Counted.HOT)
    counters.answered(404)
    counters.answered(418)
    found = values(counters)
    assert found["dcap_pccs_ready_answers_total"] == 3
    assert found['dcap_pccs_responses_total{status="404"}'] == 1
    assert found['dcap_pccs_responses_total{status="other"}'] == 1
    assert found['dcap_pccs_responses_total{status="200"}'] == 0


def test_durations_are_a_histogram() -> None:
    """Buckets add up to the count; the last one has everything."""
    counters = Counters()
    for seconds in (0.001, 0.3, 60.0):
        counters.took(seconds)
    found = values(counters)
    name = "dcap_pccs_computed_seconds"
    assert found[f'{name}_bucket{{le="{BUCKETS[0]}"}}'] == 1
    assert found[f'{name}_bucket{{le="0.5"}}'] == 2
    assert found[f'{name}_bucket{{le="+Inf"}}'] == found[f"{name}_count"] == 3
    assert abs(found[f"{name}_sum"] - 60.301) < 1e-9


def test_workers_share_their_counters() -> None:
    """What a worker counts, another tells; gauges of one that died do not stay."""
    counters = Counters(2)
    counters.use(0)
    counters.add(Counted.HOT)
    process = os.fork()
    if not process:
        counters.use(1)
        counters.add(Counted.HOT, 4)
        counters.add(Counted.OPEN)
        os._exit(0)
    os.waitpid(process, 0)
    assert counters.total(Counted.HOT) == 5
    assert counters.total(Counted.OPEN) == 1
    Counters.use(counters, 1)
    assert counters.total(Counted.OPEN) == 0
    assert counters.total(Counted.HOT) == 5


def test_labels_are_escaped() -> None:
    """A quote, a backslash or a line end in a value does not end it."""
    figure = Figure("m", "gauge", "h", (Sample((("item", 'a"b\\c\nd'),), 1.5),))
    assert write_figures([figure]).decode().splitlines()[-1] == r'm{item="a\"b\\c\nd"} 1.5'
