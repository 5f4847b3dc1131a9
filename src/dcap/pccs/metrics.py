"""What Prometheus is told: counters in memory that all workers share, gauges read when it asks.

    metrics.add(Counted.HOT)
    text = metrics.render(figures)

The counters lie in an anonymous map of memory made before the workers are: each adds in a row of its
own, whoever is asked adds the rows up. No label says anything of a machine. Not here: where gauges come
from (`health`).

Source: Prometheus text format 0.0.4.
"""

import mmap
from collections.abc import Iterable, Mapping
from enum import IntEnum, auto
from typing import Final, NamedTuple

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: Upper bounds, in seconds, of the answers that were computed.
BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0)
STATUSES: Final = (200, 304, 400, 401, 404, 408, 410, 413, 431, 460, 461, 462, 500, 502, 503)
#: How every answer is counted that has another status.
OTHER: Final = 0


class Counted(IntEnum):
    """Single counters."""

    HOT = 0
    COMPUTED = auto()
    STILL_GOOD = auto()
    BUSY = auto()
    RATE_LIMITED = auto()
    TURNED_AWAY = auto()
    CONNECTIONS = auto()
    OPEN = auto()
    UNDER_WAY = auto()
    CHANGES = auto()
    SECONDS = auto()
    BEAT = auto()


#: Counter -> name, kind, what it says. Those that are missing are for ourselves.
_SINGLE: Final[Mapping[Counted, tuple[str, str, str]]] = {
    Counted.HOT: ("dcap_pccs_ready_answers_total", "counter", "Answers that were ready."),
    Counted.COMPUTED: ("dcap_pccs_computed_answers_total", "counter", "Answers that were not."),
    Counted.STILL_GOOD: (
        "dcap_pccs_answers_without_store_total",
        "counter",
        "Ready answers given because the database did not answer.",
    ),
    Counted.BUSY: ("dcap_pccs_busy_total", "counter", "Requests refused: too many under way."),
    Counted.RATE_LIMITED: (
        "dcap_pccs_rate_limited_total",
        "counter",
        "Requests refused: too many from one address.",
    ),
    Counted.TURNED_AWAY: (
        "dcap_pccs_connections_refused_total",
        "counter",
        "Connections refused: too many open.",
    ),
    Counted.CONNECTIONS: ("dcap_pccs_connections_total", "counter", "Connections accepted."),
    Counted.OPEN: ("dcap_pccs_connections_open", "gauge", "Connections open."),
    Counted.UNDER_WAY: ("dcap_pccs_requests_under_way", "gauge", "Requests being computed."),
    Counted.CHANGES: (
        "dcap_pccs_changes_seen_total",
        "counter",
        "Times that the store was seen to have changed.",
    ),
}
_FIRST_STATUS: Final = len(Counted)
_FIRST_BUCKET: Final = _FIRST_STATUS + len(STATUSES) + 1
_SLOTS: Final = _FIRST_BUCKET + len(BUCKETS) + 1
_PLACES: Final = {status: _FIRST_STATUS + place for place, status in enumerate(STATUSES)}
_PLACE_OTHER: Final = _FIRST_STATUS + len(STATUSES)


class Sample(NamedTuple):
    """One line: labels and value."""

    labels: tuple[tuple[str, str], ...]
    value: float


class Figure(NamedTuple):
    """A metric read when it is asked for."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


class Counters:
    """The shared counters; `worker` says whose row is added to."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._map = mmap.mmap(-1, workers * _SLOTS * 8)
        self._all = memoryview(self._map).cast("d")
        self._row = self._all[:_SLOTS]

    def use(self, worker: int) -> None:
        """Add to a worker's row from now on. One that died left gauges behind: they end."""
        self._row = self._all[worker * _SLOTS : (worker + 1) * _SLOTS]
        for gauge in (Counted.OPEN, Counted.UNDER_WAY):
            self._row[gauge] = 0

    def add(self, what: Counted, by: float = 1) -> None:
        """Count."""
        self._row[what] += by

    def answered(self, status: int) -> None:
        """Count an answer by its status."""
        self._row[_PLACES.get(status, _PLACE_OTHER)] += 1

    def took(self, seconds: float) -> None:
        """Count how long a computed answer took."""
        place = next(
            (place for place, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS)
        )
        self._row[_FIRST_BUCKET + place] += 1
        self._row[Counted.SECONDS] += seconds

    def beat(self, at: float) -> None:
        """A worker is alive."""
        self._row[Counted.BEAT] = at

    def beat_of(self, worker: int, at: float) -> None:
        """A worker is about to live."""
        self._all[worker * _SLOTS + Counted.BEAT] = at

    def beats(self) -> list[float]:
        """When each worker was last alive; 0 for one that never was."""
        return [self._all[n * _SLOTS + Counted.BEAT] for n in range(self._workers)]

    def total(self, slot: int) -> float:
        """A counter over all workers."""
        return float(sum(self._all[n * _SLOTS + slot] for n in range(self._workers)))

    def figures(self) -> list[Figure]:
        """All of them."""
        found = [
            Figure(name, kind, text, (Sample((), self.total(counted)),))
            for counted, (name, kind, text) in _SINGLE.items()
        ]
        by_status = [
            Sample((("status", str(status) if status else "other"),), self.total(place))
            for status, place in (*_PLACES.items(), (OTHER, _PLACE_OTHER))
        ]
        # Those that were ready are no news; they are 200 and 304.
        return [
            *found,
            Figure(
                "dcap_pccs_responses_total",
                "counter",
                "Answers by status, ready ones left out.",
                tuple(by_status),
            ),
            self._durations(),
        ]

    def _durations(self) -> Figure:
        counts = [self.total(_FIRST_BUCKET + place) for place in range(len(BUCKETS) + 1)]
        running, samples = 0.0, []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            running += count
            samples.append(Sample((("", "_bucket"), ("le", bound)), running))
        samples.append(Sample((("", "_sum"),), self.total(Counted.SECONDS)))
        samples.append(Sample((("", "_count"),), running))
        return Figure(
            "dcap_pccs_computed_seconds",
            "histogram",
            "How long computed answers took.",
            tuple(samples),
        )


def write_figures(figures: Iterable[Figure]) -> bytes:
    """The text that is scraped."""
    lines = []
    for figure in figures:
        lines.append(f"# HELP {figure.name} {figure.help}")
        lines.append(f"# TYPE {figure.name} {figure.kind}")
        lines.extend(_line(figure.name, sample) for sample in figure.samples)
    return ("\n".join(lines) + "\n").encode()


def _line(name: str, sample: Sample) -> str:
    """One sample; the label without a name is what is appended to the metric's."""
    labels = [(key, value) for key, value in sample.labels if key]
    suffix = "".join(value for key, value in sample.labels if not key)
    shown = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    value = sample.value
    number = str(int(value)) if value == int(value) else repr(value)
    return f"{name}{suffix}{{{shown}}} {number}" if shown else f"{name}{suffix} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
