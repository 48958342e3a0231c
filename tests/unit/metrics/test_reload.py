"""Reading the settings again: when, what is told of it, and what stays."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from exporter.metrics.reload import Reloader
from exporter.metrics.web.config_watcher import LiveWebConfig
from exporter.settings.reading import read
from exporter.settings.source import Configuration, Reading, Source

Result = TypeVar("Result")
CANARY = "c4n4ry"
TARGETS = "targets: [{{name: {name}, dsn: 'host=h dbname=d password=c4n4ry'}}]\n"


class Swaps:
    """Settings in a file, and what was swapped in."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "settings.yaml"
        self.write("one")
        self.source = Source(self.file, {}, {})
        self.swapped: list[Configuration] = []
        self.reads = 0

    def write(self, name: str, more: str = "") -> None:
        self.file.write_text(TARGETS.format(name=name) + more)

    def read(self) -> Reading:
        self.reads += 1
        return read(self.source)

    @property
    def names(self) -> list[list[str]]:
        return [[target.name for target in each.targets] for each in self.swapped]

    def reloader(
        self,
        *,
        check_seconds: float = 3600,
        read_timeout_seconds: float = 30,
        web: LiveWebConfig | None = None,
    ) -> Reloader:
        return Reloader(
            read(self.source),
            self.read,
            self.swapped.append,
            web,
            check_seconds=check_seconds,
            read_timeout_seconds=read_timeout_seconds,
        )


@pytest.fixture
def swaps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Swaps:
    caplog.set_level(logging.INFO)
    return Swaps(tmp_path)


def running(reloader: Reloader, act: Callable[[], Awaitable[Result]]) -> Result:
    """What `act` gives while the reloader runs."""

    async def run() -> Result:
        task = asyncio.create_task(reloader.run())
        try:
            return await act()
        finally:
            task.cancel()

    return asyncio.run(run())


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_request_swaps_what_changed_and_names_it(swaps: Swaps, caplog: pytest.LogCaptureFixture) -> None:
    reloader = swaps.reloader()
    before = reloader.last_success
    swaps.write("two", "max_indexes: 7\nweb_listen_address: :1\n")

    ended = running(reloader, reloader.request)

    assert ended.faults == ()
    assert ended.fixed == ("web_listen_address",)
    assert swaps.names == [["two"]]
    assert swaps.swapped[0].settings.max_indexes == 7
    assert reloader.is_current
    assert reloader.last_success > before
    told, fixed = caplog.records
    assert (vars(told)["added"], vars(told)["removed"]) == (["two"], ["one"])
    assert vars(told)["settings"] == ("web_listen_address", "max_indexes")
    assert vars(fixed)["settings"] == ("web_listen_address",)
    assert CANARY not in str([vars(record) for record in caplog.records])


def test_without_a_change_nothing_is_swapped_or_told(swaps: Swaps, caplog: pytest.LogCaptureFixture) -> None:
    reloader = swaps.reloader()
    before = reloader.last_success

    running(reloader, reloader.request)

    assert (swaps.swapped, messages(caplog)) == ([], [])
    assert reloader.last_success > before


def test_faults_keep_the_last_good_and_are_told_once(swaps: Swaps, caplog: pytest.LogCaptureFixture) -> None:
    reloader = swaps.reloader()
    before = reloader.last_success
    swaps.file.write_text(f"{TARGETS.format(name='one')}max_indexes: {CANARY}\nhots: 1\n")

    async def thrice() -> None:
        for _ in range(3):
            ended = await reloader.request()
            assert [fault.place for fault in ended.faults] == [f"{swaps.file}:3", f"{swaps.file}:2"]

    async def until_mended() -> None:
        await thrice()
        assert not reloader.is_current
        assert reloader.last_success == before
        swaps.write("one")
        await reloader.request()

    running(reloader, until_mended)

    assert swaps.swapped == []
    assert reloader.is_current
    told, fixed = caplog.records
    assert told.levelname == "WARNING"
    assert all(text in vars(told)["faults"] for text in (f"{swaps.file}:2", f"{swaps.file}:3", "hots"))
    assert CANARY not in caplog.text + str(vars(told))

    assert fixed.getMessage() == "the settings have no faults any more"


def test_a_changed_file_is_noticed_without_a_request(swaps: Swaps) -> None:
    reloader = swaps.reloader(check_seconds=0.01)
    swaps.write("two")

    async def swapped() -> None:
        async with asyncio.timeout(30):
            while not swaps.swapped:
                await asyncio.sleep(0.01)

    running(reloader, swapped)

    assert swaps.names == [["two"]]


def test_unchanged_files_are_not_read_again(swaps: Swaps) -> None:
    reloader = swaps.reloader(check_seconds=0.001)

    running(reloader, lambda: asyncio.sleep(0.2))

    assert swaps.reads == 0


def test_broken_files_are_not_read_again_until_they_change(swaps: Swaps) -> None:
    reloader = swaps.reloader(check_seconds=0.001)
    swaps.file.write_text("targets: [")

    async def wait() -> None:
        await reloader.request()
        await asyncio.sleep(0.2)

    running(reloader, wait)

    assert swaps.reads == 1


def test_requests_while_one_is_under_way_share_the_next(swaps: Swaps) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def read_slowly() -> Reading:
        begun.set()
        go_on.wait()
        return swaps.read()

    reloader = Reloader(swaps.read(), read_slowly, swaps.swapped.append)
    swaps.reads = 0

    async def storm() -> None:
        first = reloader.request()
        while not begun.is_set():
            await asyncio.sleep(0.01)
        others = [reloader.request() for _ in range(500)]
        go_on.set()
        await asyncio.gather(first, *others)

    running(reloader, storm)

    assert swaps.reads == 2


def test_a_file_system_that_hangs_is_a_fault_and_one_thread(swaps: Swaps) -> None:
    go_on = threading.Event()
    begun: list[None] = []

    def hang() -> Reading:
        begun.append(None)
        go_on.wait()
        return swaps.read()

    reloader = Reloader(swaps.read(), hang, swaps.swapped.append, read_timeout_seconds=0.05)
    swaps.write("two")

    async def hanging() -> None:
        for _ in range(3):
            (fault,) = (await reloader.request()).faults
            assert "cannot be read within" in fault.what
        assert len(begun) == 1
        go_on.set()
        while (await reloader.request()).faults:
            await asyncio.sleep(0.01)

    running(reloader, hanging)

    assert swaps.names == [["two"]]
    assert reloader.is_current


def test_an_unexpected_error_stops_neither_the_exporter_nor_reloading(
    swaps: Swaps, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [ZeroDivisionError(), ZeroDivisionError()]

    def fail() -> Reading:
        if errors:
            raise errors.pop()
        return swaps.read()

    reloader = Reloader(swaps.read(), fail, swaps.swapped.append)

    async def reload() -> list[int]:
        return [len((await reloader.request()).faults) for _ in range(3)]

    assert running(reloader, reload) == [1, 1, 0]
    assert messages(caplog)[0] == "the settings could not be read again"
    assert reloader.is_current


def test_what_cannot_be_swapped_is_tried_again(swaps: Swaps) -> None:
    errors = [ZeroDivisionError()]

    def swap(configuration: Configuration) -> None:
        if errors:
            raise errors.pop()
        swaps.swapped.append(configuration)

    reloader = Reloader(swaps.read(), swaps.read, swap)
    swaps.write("two")

    async def reload() -> list[int]:
        return [len((await reloader.request()).faults) for _ in range(2)]

    assert running(reloader, reload) == [1, 0]
    assert swaps.names == [["two"]]


def test_faults_of_the_web_configuration_count_too(swaps: Swaps) -> None:
    file = swaps.file.with_name("web.yml")
    file.write_text("{}\n")
    web = LiveWebConfig(file, check_seconds=3600)
    reloader = swaps.reloader(web=web)
    file.write_text("users: {}\n")

    async def reload() -> None:
        (fault,) = (await reloader.request()).faults
        assert fault.place == f"{file}:1"
        assert not reloader.is_current
        file.write_text("{}\n")
        assert (await reloader.request()).faults == ()

    running(reloader, reload)

    assert reloader.is_current


def test_reloading_by_a_request_is_as_the_settings_say(swaps: Swaps) -> None:
    reloader = swaps.reloader()
    assert not reloader.is_enabled
    swaps.write("one", "web_enable_lifecycle: true\n")

    running(reloader, reloader.request)

    assert reloader.is_enabled
