"""What the collector counts, for Prometheus. No label names a gateway, a caller or a project."""

from collections.abc import Iterator

from igw_ops.tally import Tally
from igw_ops.timings import Timings
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from igw_usage.delivery import Verdict
from igw_usage.generative import Generative
from igw_usage.ledger import Ledger, Stored
from igw_usage.storing import dropped_rows

COUNTED, DUPLICATE, UNUSABLE = "counted", "duplicate", "unusable"


class Metrics(Collector):
    """The counts of one collector; called from the event loop alone."""

    def __init__(self, ledger: Ledger, *, reports: bool) -> None:
        """Begin at nothing, beside a ledger; `reports` says whether there is an outbox."""
        self._ledger = ledger
        self._reporting = reports
        self.generative = Generative()
        self.exports = Tally("igw_usage_exports", "Exports of Envoys, by what came of them.", ["outcome"])
        self.records = Tally("igw_usage_records", "Records, by what came of them.", ["outcome"])
        self.unreported = 0
        self.reports = Tally(
            "igw_usage_reports", "Attempts to send a report, by what came of them.", ["outcome"]
        )
        self.reported = 0
        self.refused = 0
        self.pushes = Tally("igw_usage_otlp_pushes", "Times that metrics were sent by OTLP.", ["outcome"])
        self.seconds = Timings(
            "igw_usage_export_seconds",
            "From an export that was read to its answer: the wait for the disk.",
            (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )

    def export(self, outcome: str, stored: Stored, seconds: float) -> None:
        """Count an export that took so long, and what is new in it."""
        self.exports.count(outcome)
        self.seconds.observe(seconds)
        self._count(COUNTED, len(stored.new))
        self._count(DUPLICATE, stored.duplicates)
        self._count(UNUSABLE, stored.unusable)
        for record in stored.new:
            self.generative.observe(record)
            self.unreported += record.reports and not self._reporting

    def report(self, outcome: Verdict, records: int) -> None:
        """Count an attempt to send so many records."""
        self.reports.count(outcome)
        self.reported += records if outcome is Verdict.DELIVERED else 0
        self.refused += records if outcome is Verdict.REFUSED else 0

    def _count(self, outcome: str, number: int) -> None:
        for _ in range(number):
            self.records.count(outcome)

    def collect(self) -> Iterator[Metric]:
        """Give all to Prometheus."""
        for of in (self.exports, self.records, self.seconds, self.reports, self.pushes, self.generative):
            yield from of.collect()
        yield from self._totals()
        yield from self._gauges()

    def _totals(self) -> Iterator[Metric]:
        unreported = "Records that were to be reported while there was nobody to report to."
        yield CounterMetricFamily("igw_usage_records_unreported", unreported, self.unreported)
        yield CounterMetricFamily("igw_usage_reports_records", "Records that were reported.", self.reported)
        refused = "Records whose report was refused; they are set aside."
        yield CounterMetricFamily("igw_usage_reports_refused", refused, self.refused)
        text = "Rows that were dropped for want of room, by table."
        dropped = CounterMetricFamily("igw_usage_dropped_rows", text, labels=["table"])
        for table, number in dropped_rows(self._ledger.rows).items():
            dropped.add_metric([table], number)
        yield dropped

    def _gauges(self) -> Iterator[Metric]:
        ledger = self._ledger
        family = GaugeMetricFamily("igw_usage_rows", "Rows of the ledger, by table.", labels=["table"])
        for table, number in (
            ("outbox", ledger.rows.outbox),
            ("seen", ledger.rows.seen),
            ("totals", ledger.rows.totals),
        ):
            family.add_metric([table], number)
        yield family
        waiting = "Bytes of exports that wait for the disk."
        yield GaugeMetricFamily("igw_usage_waiting_bytes", waiting, ledger.waiting_bytes)
        text = "Records that wait to be reported, without those that are set aside."
        yield GaugeMetricFamily("igw_usage_outbox_records", text, ledger.depth.waiting)
        text = "Records of reports that were refused and are set aside."
        refused = ledger.rows.outbox - ledger.depth.waiting
        yield GaugeMetricFamily("igw_usage_outbox_refused_records", text, refused)
        text = "How long the oldest record has waited to be reported, set aside ones left out."
        yield GaugeMetricFamily("igw_usage_outbox_oldest_seconds", text, ledger.oldest_seconds())
