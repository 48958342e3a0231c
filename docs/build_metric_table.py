"""Write docs/metrics.md and the metric section of README.md from exporter/catalogue.

`--check` reports whether both are up to date and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from exporter.catalogue import metrics as catalogue
from exporter.catalogue.metric import INDEX, STATEMENT, TABLE, Metric, Scope

CHECKOUT = Path(__file__).resolve().parent.parent
README = CHECKOUT / "README.md"
PAGE = CHECKOUT / "docs" / "metrics.md"
BEGIN = "<!-- metrics:begin -->"
END = "<!-- metrics:end -->"
OLDEST_SERVER = 14

SCOPES: dict[Scope, tuple[str, str, tuple[str, ...]]] = {
    "index": (
        "Watched indexes",
        "One series for each index that is declared or matches `watch`, while its database answers.",
        INDEX,
    ),
    "declared": (
        "Declared indexes",
        "One series for each index that a manifest bound to the database declares.",
        INDEX,
    ),
    "build": (
        "Builds",
        "One series for each build that runs on a watched table.",
        INDEX,
    ),
    "table": ("Tables", "One series for each table of a watched index.", TABLE),
    "statement": (
        "Statements",
        "One series for each statement in pg_stat_statements that reads a watched table.",
        STATEMENT,
    ),
    "target": ("Server", "The PostgreSQL server, and the success of reading it.", ()),
    "exporter": ("Exporter", "The exporter itself.", ()),
}

PAGE_HEAD = """\
# Metrics

Written by `make docs` from `exporter/catalogue`; do not edit.

A value that PostgreSQL does not know, or that the monitor role may not read, is absent, never 0. Prometheus
adds `job` and `instance`. Counters end in `_total`; names contain the unit (`_seconds`, `_bytes`); times are
Unix time.
"""
PROCESS_HEAD = """\
## Process

Published by prometheus-client about the process of the exporter, on Linux:
"""


def code(words: Iterable[str]) -> str:
    """Return the words as Markdown code, separated by commas."""
    return ", ".join(f"`{word}`" for word in words)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n" for cells in lines)


def in_scope(scope: Scope) -> list[Metric]:
    """Return the metrics of one scope, in the order of the table."""
    return [metric for metric in catalogue.METRICS if metric.scope == scope]


def name(metric: Metric, usual_labels: tuple[str, ...]) -> str:
    """Return the name of the metric, with its labels if they differ from those of its scope."""
    labels = "" if metric.labels == usual_labels else "{" + ", ".join(metric.labels) + "}"
    return f"`{metric.name}{labels}`"


def source(metric: Metric) -> str:
    """Return the source of the value, with its first PostgreSQL version if newer than the oldest."""
    since = f", PostgreSQL {metric.since} and later" if metric.since > OLDEST_SERVER else ""
    return f"`{metric.source}`{since}"


def readme_section() -> str:
    """Return names and meanings, collapsed by scope."""
    parts = []
    for scope, (title, _, usual_labels) in SCOPES.items():
        rows = [[name(metric, usual_labels), metric.help] for metric in in_scope(scope)]
        labels = f" {{{', '.join(usual_labels)}}}" if usual_labels else ""
        parts.append(
            f"<details><summary><b>{title}</b>{labels}</summary>\n\n"
            f"{table(['Metric', 'Meaning'], rows)}\n</details>\n"
        )
    return "".join(parts) + f"\nOf the process: {code(catalogue.PROCESS_METRICS)}.\n"


def page() -> str:
    """Return all metrics with type, labels, meaning and source."""
    parts = [PAGE_HEAD]
    for scope, (title, explanation, usual_labels) in SCOPES.items():
        rows = [
            [name(metric, usual_labels), metric.kind, metric.help, source(metric)]
            for metric in in_scope(scope)
        ]
        labels = f" Labels, unless a name shows others: {code(usual_labels)}." if usual_labels else ""
        parts.append(
            f"## {title}\n\n{explanation}{labels}\n\n{table(['Metric', 'Type', 'Meaning', 'Source'], rows)}"
        )
    parts.append(PROCESS_HEAD + "\n" + "".join(f"- `{process}`\n" for process in catalogue.PROCESS_METRICS))
    return "\n".join(parts)


def readme() -> str:
    """Return README.md with a new section between the markers.

    Raises: ValueError if the markers do not occur exactly once and in order.
    """
    text = README.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{README}: put the section between one line {BEGIN} and one line {END}")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{readme_section()}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it would")
    options = parser.parse_args(arguments)
    try:
        written = {PAGE: page(), README: readme()}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    stale = [
        path
        for path, text in written.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if options.check:
            print(f"{path} is out of date; run make docs", file=sys.stderr)
        else:
            path.write_text(written[path], encoding="utf-8")
            print(path)
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
