"""Reading the settings again while the exporter runs: on request, and when one of their files changed.

What was read is checked first and swapped whole. Where anything is wrong, the last good settings stay.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from exporter.errors import Fault, SettingsError
from exporter.file_state import have_changed
from exporter.metrics.threads import in_thread
from exporter.metrics.web.config_watcher import LiveWebConfig
from exporter.settings.source import Configuration, Reading

logger = logging.getLogger(__name__)

# How often the files are looked at.
CHECK_SECONDS = 5.0
# What failed for a reason that no file shows, such as too many open ones, is tried again after this.
RETRY_SECONDS = 30.0
# A file on a server that is gone keeps its reader waiting for ever; longer than this nobody waits with it.
PATIENCE_SECONDS = 30.0
# What a listening server cannot change.
FIXED = ("web_listen_address", "web_telemetry_path", "web_config_file")


@dataclass(frozen=True, slots=True)
class Reload:
    """How a reload ended: with `faults` everything stays as it was; `fixed` settings wait for a restart."""

    faults: tuple[Fault, ...] = ()
    fixed: tuple[str, ...] = ()


class Reloader:
    """Keeps the exporter at what its settings say. Lives in the event loop."""

    def __init__(
        self,
        first: Reading,
        read: Callable[[], Reading],
        swap: Callable[[Configuration], None],
        web: LiveWebConfig | None = None,
        *,
        check_seconds: float = CHECK_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Raises: SettingsError, when the first reading failed."""
        self._read, self._swap = read, swap
        self._web = web or LiveWebConfig()
        self._check_seconds, self._patience_seconds = check_seconds, patience_seconds
        self._configuration = first.configuration
        self._started_with = first.configuration.settings
        self._files = first.files
        self._last = Reload()
        self._last_tried = time.monotonic()
        self._last_success = time.time()
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[Reload]] = []
        # Looks at the files or reads them; there is never a second one, even where it hangs.
        self._thread: asyncio.Future[None] | None = None

    @property
    def is_enabled(self) -> bool:
        """True when the settings allow to ask for a reload over HTTP."""
        return self._configuration.settings.web_enable_lifecycle

    @property
    def is_current(self) -> bool:
        """False while the settings or the web configuration have faults, and the last good ones are used."""
        return not self._last.faults and self._web.is_current

    @property
    def last_success(self) -> float:
        """When either of them was last read and found good, in Unix time."""
        return max(self._last_success, self._web.last_success)

    def request(self) -> asyncio.Future[Reload]:
        """Asks for a reload that begins from now on; how it ended."""
        asked: asyncio.Future[Reload] = asyncio.get_running_loop().create_future()
        self._waiting.append(asked)
        self._wanted.set()
        return asked

    async def run(self) -> None:
        """Reloads when asked to and when a file changed, once at a time, until it is cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._check_seconds):
                    await self._wanted.wait()
            except TimeoutError:
                if not await self._is_due():
                    continue
            # Whoever asks from here on wants what is in the files then.
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
        self._tell(ended)
        self._last = ended
        self._web.check()
        return Reload((*ended.faults, *self._web.faults), ended.fixed)

    async def _take_new(self) -> Reload:
        readings: list[Reading] = []
        if not await self._done(lambda: readings.append(self._read())):
            what = f"its files cannot be read within {self._patience_seconds:g} seconds"
            return Reload((Fault("settings", what, "look whether a file system or a pipe hangs"),))
        (reading,) = readings
        self._files = reading.files
        if isinstance(reading.outcome, SettingsError):
            return Reload(reading.outcome.faults)
        before, after = self._configuration, reading.outcome
        if after != before:
            self._swap(after)
            self._configuration = after
            _tell_changes(before, after)
        self._last_success = time.time()
        names = (name for name in FIXED if getattr(after.settings, name) != getattr(self._started_with, name))
        return Reload(fixed=tuple(names))

    async def _done(self, work: Callable[[], None]) -> bool:
        """True once the work was done in a thread, False where it hangs, or earlier work does."""
        if not await self._is_free():
            return False
        self._thread = thread = in_thread(work)
        if not await self._is_free():
            return False
        thread.result()
        return True

    async def _is_free(self) -> bool:
        """True once no thread works any more, False where one hangs."""
        if self._thread is not None:
            await asyncio.wait({self._thread}, timeout=self._patience_seconds)
            if not self._thread.done():
                return False
            self._thread = None
        return True

    def _tell(self, ended: Reload) -> None:
        """Logs what is new in it."""
        if ended.faults and ended.faults != self._last.faults:
            faults = "; ".join(map(str, ended.faults))
            logger.warning("the settings have faults, the last good ones stay", extra={"faults": faults})
        elif self._last.faults and not ended.faults:
            logger.info("the settings have no faults any more")
        if ended.fixed and ended.fixed != self._last.fixed:
            logger.warning("settings that changed count after a restart", extra={"settings": ended.fixed})


def _tell_changes(before: Configuration, after: Configuration) -> None:
    """Logs the names of what changed, and none of the values."""
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
