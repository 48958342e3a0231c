"""Reading the settings again while the exporter runs: on request, and when one of their files changed.

New settings are checked first and replace the old ones as a whole. If anything is invalid, the last valid
settings stay in use.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from exporter.errors import Fault, SettingsError
from exporter.file_state import have_changed
from exporter.metrics.threads import in_thread
from exporter.metrics.web.config_watcher import LiveWebConfig
from exporter.metrics.web.lifecycle import Reload
from exporter.settings.source import Configuration, Reading

logger = logging.getLogger(__name__)

# How often the files are checked for changes.
CHECK_SECONDS = 5.0
# What failed for a reason that no file shows, such as too many open files, is tried again after this.
RETRY_SECONDS = 30.0
# Reading a file on an unreachable file server does not return; a reload gives up after this.
READ_TIMEOUT_SECONDS = 30.0
# Settings that a listening server cannot change.
NEED_RESTART = ("web_listen_address", "web_telemetry_path", "web_config_file")


class Reloader:
    """Applies changed settings to the exporter; runs on the event loop."""

    def __init__(
        self,
        first: Reading,
        read: Callable[[], Reading],
        swap: Callable[[Configuration], None],
        web: LiveWebConfig | None = None,
        *,
        check_seconds: float = CHECK_SECONDS,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        """Raises: SettingsError, when the first reading failed."""
        self._read, self._swap = read, swap
        self._web = web or LiveWebConfig()
        self._check_seconds, self._read_timeout_seconds = check_seconds, read_timeout_seconds
        self._configuration = first.configuration
        self._started_with = first.configuration.settings
        self._files = first.files
        self._last = Reload()
        self._last_tried = time.monotonic()
        self._last_success = time.time()
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[Reload]] = []
        # Checks the files or reads them; there is never a second one, even if it hangs.
        self._thread: asyncio.Future[None] | None = None

    @property
    def is_enabled(self) -> bool:
        """True when the settings allow a reload by an HTTP request."""
        return self._configuration.settings.web_enable_lifecycle

    @property
    def is_current(self) -> bool:
        """False while the settings or the web configuration have faults; the last valid ones are in use."""
        return not self._last.faults and self._web.is_current

    @property
    def last_success(self) -> float:
        """When either of them was last read and valid, in Unix time."""
        return max(self._last_success, self._web.last_success)

    def request(self) -> asyncio.Future[Reload]:
        """The result of a reload that begins after this request."""
        asked: asyncio.Future[Reload] = asyncio.get_running_loop().create_future()
        self._waiting.append(asked)
        self._wanted.set()
        return asked

    async def run(self) -> None:
        """Reload on request and when a file changed, one reload at a time, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._check_seconds):
                    await self._wanted.wait()
            except TimeoutError:
                if not await self._is_due():
                    continue
            # Later requests need a reload that begins after them.
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            ended = await self._reload()
            for asked in waiting:
                if not asked.done():
                    asked.set_result(ended)

    async def _is_due(self) -> bool:
        """True when a file changed since it was read, or what failed is to be tried again."""
        if self._last.faults and time.monotonic() - self._last_tried >= RETRY_SECONDS:
            return True
        found: list[bool] = []
        # In a thread: a file may lie on a server that does not answer.
        await self._done(lambda: found.append(have_changed(self._files)))
        return any(found)

    async def _reload(self) -> Reload:
        self._last_tried = time.monotonic()
        try:
            ended = await self._take_new()
        except Exception:
            ended = Reload((Fault("settings", "an unexpected error", "see the log, and report it"),))
            if ended.faults != self._last.faults:
                logger.exception("the settings could not be read again")
        self._log(ended)
        self._last = ended
        self._web.check()
        return Reload((*ended.faults, *self._web.faults), ended.fixed)

    async def _take_new(self) -> Reload:
        readings: list[Reading] = []
        if not await self._done(lambda: readings.append(self._read())):
            what = f"its files cannot be read within {self._read_timeout_seconds:g} seconds"
            return Reload((Fault("settings", what, "check whether a file system or a pipe hangs"),))
        (reading,) = readings
        self._files = reading.files
        if isinstance(reading.outcome, SettingsError):
            return Reload(reading.outcome.faults)
        before, after = self._configuration, reading.outcome
        if after != before:
            self._swap(after)
            self._configuration = after
            _log_changes(before, after)
        self._last_success = time.time()
        changed = self._started_with.changes(after.settings)
        return Reload(fixed=tuple(name for name in NEED_RESTART if name in changed))

    async def _done(self, work: Callable[[], None]) -> bool:
        """True once the work was done in a thread, False when it hangs, or earlier work does."""
        if not await self._is_free():
            return False
        self._thread = thread = in_thread(work)
        if not await self._is_free():
            return False
        thread.result()
        return True

    async def _is_free(self) -> bool:
        """True once no thread is working, False when one hangs."""
        if self._thread is not None:
            await asyncio.wait({self._thread}, timeout=self._read_timeout_seconds)
            if not self._thread.done():
                return False
            self._thread = None
        return True

    def _log(self, ended: Reload) -> None:
        """Log what differs from the last reload."""
        if ended.faults and ended.faults != self._last.faults:
            faults = "; ".join(map(str, ended.faults))
            logger.warning("the settings have faults, the last good ones stay", extra={"faults": faults})
        elif self._last.faults and not ended.faults:
            logger.info("the settings have no faults any more")
        if ended.fixed and ended.fixed != self._last.fixed:
            names = ended.fixed
            logger.warning("settings that changed count after a restart", extra={"settings": names})


def _log_changes(before: Configuration, after: Configuration) -> None:
    """Log the names of what changed, and none of the values."""
    old, new = ({target.name: target for target in each.targets} for each in (before, after))
    changes = {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
        "settings": before.settings.changes(after.settings),
    }
    logger.info(
        "the settings were read again", extra={name: names for name, names in changes.items() if names}
    )
