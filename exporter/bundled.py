"""Where the files that ship with the package lie: rules, dashboards and example manifests.

In a checkout they are folders beside the package; in an installed wheel they are inside it, because
a wheel must not drop folders with such general names into site-packages.
"""

from pathlib import Path
from typing import Literal

BundledName = Literal["alerts", "grafana", "indexes"]

_PACKAGE = Path(__file__).resolve().parent


def path(name: BundledName) -> Path:
    """The folder of that name, from the installed wheel or from the checkout.

    Raises: FileNotFoundError, naming both places, when the installation lacks it.
    """
    candidates = (_PACKAGE / "_bundled" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    tried = " nor ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"the bundled folder {name!r} is in neither {tried}; reinstall pg-index-exporter")
