"""The web configuration as it is now: read again when one of its files changed, kept when that went wrong."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from exporter.errors import Fault, SettingsError
from exporter.file_state import have_changed
from exporter.metrics.web.config import WebConfig, load_web_config

logger = logging.getLogger(__name__)

# Asked at every connection and request; the files are looked at no more often than this.
CHECK_SECONDS = 1.0


class LiveWebConfig:
    """The last good configuration in a file. Without a file everybody is let in, over plain HTTP."""

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
        """Why the files are not used as they are now; none while they are."""
        return self._faults

    @property
    def last_success(self) -> float:
        """When they were last read and found good, in Unix time."""
        return self._last_success

    @property
    def is_current(self) -> bool:
        """False while the files hold something that cannot be used, and what they held before is."""
        return not self._faults

    def current(self) -> WebConfig:
        """The configuration, swapped whole when its files changed to something good."""
        if time.monotonic() - self._checked >= self._check_seconds:
            self.check()
        return self._config

    def check(self) -> None:
        """Reads the files if they changed, however short a time ago they were looked at."""
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
            # Tried again until it is good, told once.
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
