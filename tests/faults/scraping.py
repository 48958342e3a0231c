"""Scraping as Prometheus does, and what of it the fault tests look at."""

from dataclasses import dataclass

import httpx

from exporter.catalogue.metrics import COLLECTORS
from tests.unit.metrics.exposition.test_render import Labels, samples

# Only against hanging for ever.
CLIENT_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of /metrics or /probe, parsed."""

    status_code: int
    text: str
    samples: dict[tuple[str, Labels], float]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one sample of that name that has these labels, None without any."""
        found = [
            value
            for (sample, have), value in self.samples.items()
            if sample == name and labels.items() <= dict(have).items()
        ]
        assert len(found) < 2, found
        return found[0] if found else None

    @property
    def target_up(self) -> float | None:
        return self.value("pg_index_exporter_target_up")

    @property
    def failed(self) -> set[str]:
        """The collectors that did not succeed; every one of them has to be told of, whatever happens."""
        success = {
            dict(labels)["collector"]: value
            for (name, labels), value in self.samples.items()
            if name == "pg_index_exporter_collector_success"
        }
        assert success.keys() == set(COLLECTORS)
        return {collector for collector, value in success.items() if not value}


def scrape(url: str, patience_seconds: float | None = None, path: str = "/metrics") -> Scrape:
    """What a scraper gets that waits for `patience_seconds`."""
    headers = {}
    if patience_seconds is not None:
        headers["X-Prometheus-Scrape-Timeout-Seconds"] = f"{patience_seconds}"
    answer = httpx.get(url + path, headers=headers, timeout=CLIENT_TIMEOUT_SECONDS)
    is_page = answer.status_code == httpx.codes.OK
    return Scrape(answer.status_code, answer.text, samples(answer.text) if is_page else {})
