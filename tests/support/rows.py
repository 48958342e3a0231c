"""Whether the values that a server sends are of the types that a row's dataclass declares."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def misfits(row: Mapping[str, Any], row_type: type[Any]) -> list[str]:
    """The values that are not what the row says, such as a numeric where it has a float."""
    hints = get_type_hints(row_type)
    return [
        f"{name} is {value!r}, the row wants {hints[name]}"
        for name, value in row.items()
        if not _is_of(value, hints[name])
    ]


def _is_of(value: object, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_is_of(value, one) for one in get_args(hint))
    container = get_origin(hint)
    # Not isinstance: True is an int, and not what a row of counts wants.
    return isinstance(value, container) if container is not None else type(value) is hint
