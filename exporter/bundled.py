"""The folders that are part of the distribution: rules, dashboards and example manifests.

In a checkout they are beside the package, in an installed wheel inside it, because a wheel must not put
folders with such general names into site-packages.
"""

from pathlib import Path
from typing import Literal

BundledName = Literal["alerts", "grafana", "indexes"]

_PACKAGE = Path(__file__).resolve().parent


def path(name: BundledName) -> Path:
    """Return the folder of that name, in the installed wheel or in the checkout.

    Raises: FileNotFoundError with both paths if the installation lacks it.
    """
    candidates = (_PACKAGE / "_bundled" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    tried = " nor ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"the bundled folder {name!r} is in neither {tried}; reinstall pg-index-exporter")
