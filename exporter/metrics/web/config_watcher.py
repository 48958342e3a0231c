"""The present web configuration: reloaded when one of its files changes, kept if the new one is invalid."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from exporter.errors import Fault, SettingsError
from exporter.file_state import have_changed
from exporter.metrics.web.config import WebConfig, load_web_config

logger = logging.getLogger(__name__)

# The configuration is needed for every connection and request; the files are checked at most this often.
CHECK_SECONDS = 1.0


class LiveWebConfig:
    """The last valid configuration in a file. Without a file: plain HTTP, no password."""

    def __init__(self, path: Path | None = None, *, check_seconds: float = CHECK_SECONDS) -> None:
        """Raises: SettingsError, with all faults."""
        self._path = path
        self._check_seconds = check_seconds
        self._config = WebConfig() if path is None else load_web_config(path)
        self._checked = time.monotonic()
        self._faults: tuple[Fault, ...] = ()
        self._last_success = time.time()
        self._has_warned_of_http2 = False
        self._warn_of_http2()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return why the files as they are now are not used; empty if they are."""
        return self._faults

    @property
    def last_success(self) -> float:
        """Return when they were last read and valid, in Unix time."""
        return self._last_success

    @property
    def is_current(self) -> bool:
        """Return False while the files are invalid and their previous content is used."""
        return not self._faults

    def current(self) -> WebConfig:
        """Return the configuration, reloaded as a whole if its files changed and are valid."""
        if time.monotonic() - self._checked >= self._check_seconds:
            self.check()
        return self._config

    def check(self) -> None:
        """Reload the files if they changed, however recently they were checked."""
        self._checked = time.monotonic()
        if self._path is not None:
            self._check(self._path)

    def _check(self, path: Path) -> None:
        if not have_changed(self._config.files):
            if self._faults:
                self._faults, self._last_success = (), time.time()
                logger.info("web configuration valid again", extra={"file": str(path)})
            return
        try:
            config = load_web_config(path)
        except SettingsError as error:
            # Tried again each time, logged once.
            if error.faults != self._faults:
                self._faults = error.faults
                faults = "; ".join(map(str, error.faults))
                logger.warning(
                    "web configuration invalid, the last valid one stays active", extra={"faults": faults}
                )
            return
        self._config, self._faults, self._last_success = config, (), time.time()
        logger.info("web configuration reloaded", extra={"file": str(path)})
        self._warn_of_http2()

    def _warn_of_http2(self) -> None:
        """Log, once, that `http2: true` has no effect."""
        if self._config.asks_for_http2 and not self._has_warned_of_http2:
            self._has_warned_of_http2 = True
            logger.warning("http2 has no effect, HTTP/1.1 is used", extra={"file": str(self._path)})
