"""Real Prometheus servers read from a page what the reference parser reads from it: names, labels, values.

The pages are an exporter's, of a database with hostile names; they are recorded and served as they are, so
that all read the same bytes.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml
from psycopg import sql

from exporter.demo.monitoring import Service, fetch
from exporter.metrics.exposition.page import PageFormat
from exporter.metrics.service import ServiceOptions, serving
from exporter.model import Target
from tests.conftest import TestDatabase
from tests.postgres.metrics.collecting import declare, described
from tests.support.hostile_names import NAMES, index_name
from tests.support.services import ask, start
from tests.support.tools import find_prometheus
from tests.support.waiting import wait_for
from tests.unit.metrics.exposition.test_render import Labels, families, samples

PATHS = {"/text": PageFormat.TEXT, "/openmetrics": PageFormat.OPENMETRICS}
LIVE = "/metrics"
Samples = dict[tuple[str, Labels], float]
Metadata = dict[str, tuple[str, str, str]]


@pytest.fixture
def hostile(database: TestDatabase) -> TestDatabase:
    """A database in which every name of a schema, table or index is one that somebody forgot to quote."""
    database.execute("CREATE EXTENSION pg_stat_statements")
    with database.connect() as connection:
        for number, name in enumerate(NAMES):
            schema = sql.Identifier(f"{number} {name}".encode()[:63].decode(errors="ignore"))
            table, index = sql.Identifier(name), sql.Identifier(index_name(number, name))
            for statement in (
                "CREATE SCHEMA {schema}",
                "CREATE TABLE {schema}.{table} (id int)",
                "CREATE INDEX {index} ON {schema}.{table} (id)",
                "SELECT id FROM {schema}.{table}",
            ):
                connection.execute(sql.SQL(statement).format(schema=schema, table=table, index=index))
    return database


@pytest.fixture
def exporter(hostile: TestDatabase) -> Iterator[str]:
    """The URL of an exporter of that database."""
    absent = declare(NAMES[0], NAMES[2], schemaname=NAMES[4])
    target = Target("default", (described(hostile, absent, watch="all"),))
    with serving([target], ServiceOptions(listen_address="127.0.0.1:0")) as url:
        yield url


def record(exporter: str) -> Mapping[str, httpx.Response]:
    """A page of each format, by the path under which it will be served."""
    found = {
        path: httpx.get(f"{exporter}/metrics", headers={"Accept": page_format.value}, timeout=60)
        for path, page_format in PATHS.items()
    }
    for path, page_format in PATHS.items():
        assert found[path].headers["content-type"] == page_format.value
    return found


@contextmanager
def serving_recorded(pages: Mapping[str, httpx.Response]) -> Iterator[str]:
    """The address of a server that gives the recorded pages."""

    class Recorded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages[self.path]
            self.send_response(200)
            self.send_header("Content-Type", page.headers["content-type"])
            self.end_headers()
            self.wfile.write(page.content)

        def log_message(self, *_: object) -> None:
            """Nothing: the test says what went wrong."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Recorded) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("major", [2, 3])
def test_prometheus_reads_what_the_reference_parser_reads(exporter: str, tmp_path: Path, major: int) -> None:
    program = find_prometheus(major)
    pages = record(exporter)
    with ExitStack() as stack:
        address = stack.enter_context(serving_recorded(pages))
        config = tmp_path / "prometheus.yml"
        config.write_text(yaml.safe_dump(scraping(address, exporter.removeprefix("http://"))))
        prometheus = start(
            stack,
            tmp_path,
            "prometheus",
            *(program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"),
            "--web.listen-address={address}",
        )
        wait_for("the scrapes", lambda: len(ask(prometheus, "up == 1")) == len(PATHS) + 1 or None)
        read = {path: series(prometheus, path) for path in (*PATHS, LIVE)}
        described_as = {path: metadata(prometheus, path) for path in PATHS}

    for path, page_format in PATHS.items():
        expected = {
            (name, named(labels)): value
            for (name, labels), value in samples(pages[path].text, page_format).items()
        }
        assert len(expected) > 13 * len(NAMES)
        assert read[path] == expected
        assert described_as[path] == {
            # The reference parser calls a counter by its family's name in both formats.
            family.name.removesuffix("_total"): (family.type, family.documentation, family.unit)
            for family in families(pages[path].text, page_format)
        }
    # In the format and the encoding that they agree upon.
    assert read[LIVE].keys() >= read["/openmetrics"].keys()


def scraping(recorded: str, live: str) -> dict[str, object]:
    """Prometheus' configuration: one job for each recorded page, and one for the exporter itself."""
    addresses = {**dict.fromkeys(PATHS, recorded), LIVE: live}
    return {
        "global": {"scrape_interval": "5s", "scrape_timeout": "5s"},
        "scrape_configs": [
            {"job_name": path, "metrics_path": path, "static_configs": [{"targets": [address]}]}
            for path, address in addresses.items()
        ],
    }


def named(labels: Labels) -> Labels:
    """The labels without those that are empty: to Prometheus they are none."""
    return frozenset((name, value) for name, value in labels if value)


def series(prometheus: Service, job: str) -> Samples:
    """Everything that Prometheus has of the page, without what it adds about the scrape."""
    found: Samples = {}
    for row in ask(prometheus, f'{{job="{job}",__name__!~"up|scrape_.*"}}'):
        labels = {name: value for name, value in row["metric"].items() if name not in ("job", "instance")}
        found[labels.pop("__name__"), frozenset(labels.items())] = float(row["value"][1])
    return found


def metadata(prometheus: Service, job: str) -> Metadata:
    """Type, help and unit of each family of the page."""
    query = httpx.QueryParams({"match_target": f'{{job="{job}"}}'})
    answer = json.loads(fetch(f"{prometheus.url}/api/v1/targets/metadata?{query}"))
    return {
        row["metric"].removesuffix("_total"): (row["type"], row["help"], row["unit"])
        for row in answer["data"]
    }
