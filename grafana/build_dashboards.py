"""Write dashboards/pg-index-exporter.json; `--check` reports whether the file is up to date."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard
from index_rows import declared_indexes, index_builds, index_usage, verdict
from panels import DATASOURCE, INDEX, series
from server_rows import exporter, statements, tables

OUTPUT = Path(__file__).resolve().parent / "dashboards" / "pg-index-exporter.json"


def variables() -> list[Builder[dashboard.VariableModel]]:
    """The chain data source -> job -> instance -> datname -> relname.

    There is no All for job: it would match every job of the data source, and other exporters publish
    series of the same names (process_*, up, some of pg_stat_user_tables_*).
    """
    names = {
        "job": "pg_index_exporter_target_up{}",
        "instance": 'pg_index_exporter_target_up{job=~"$job"}',
        "datname": 'pg_index_exporter_database_up{job=~"$job", instance=~"$instance"}',
        # Declared indexes are known while the database is down, watched ones only while it answers.
        "relname": '{__name__=~"pg_index_declared|pg_index_valid", job=~"$job",'
        ' instance=~"$instance", datname=~"$datname"}',
    }
    labels = {"job": "Job", "instance": "Instance", "datname": "Database", "relname": "Table"}
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    chain: list[Builder[dashboard.VariableModel]] = [
        dashboard_builder.DatasourceVariable("datasource").label("Data source").type("prometheus")
    ]
    for name, selector in names.items():
        query = f"label_values({selector.removesuffix('{}')}, {name})"
        variable = (
            dashboard_builder.QueryVariable(name)
            .label(labels[name])
            .datasource(DATASOURCE)
            .query(query)
            .definition(query)
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.NATURAL_ASC)
            .multi(True)
            .include_all(name != "job")
            .all_value(".+")
        )
        if name != "job":
            variable.current(everything)
        chain.append(variable)
    return chain


def build_annotation() -> dashboard_builder.AnnotationQuery:
    expr = f"max by ({INDEX}, phase) ({series('pg_index_build_phase')} == 1)"
    return (
        dashboard_builder.AnnotationQuery()
        .name("Index builds")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color("blue")
        .expr(expr)
        .title_format("Building {{indexname}}")
        .text_format("{{phase}} ({{datname}} on {{instance}})")
        .tag_keys("datname,relname")
    )


def index_dashboard() -> dashboard.Dashboard:
    builder = (
        dashboard_builder.Dashboard("PostgreSQL indexes")
        .uid("pg-index-exporter")
        .description("Declared PostgreSQL indexes: are they there, are they used, what do they cost.")
        .tags(["postgresql", "index", "pg-index-exporter"])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .variables(variables())
        .annotation(build_annotation())
    )
    rows = (
        verdict(),
        declared_indexes(),
        index_usage(),
        index_builds(),
        tables(),
        statements(),
        exporter(),
    )
    for title, panels in rows:
        builder.with_row(dashboard_builder.Row(title))
        for panel in panels:
            builder.with_panel(panel)
    built = builder.build()
    # The SDK leaves all panels with id 0, which Grafana would number anew at every load.
    for panel_id, built_panel in zip(itertools.count(1), built.panels or (), strict=False):
        built_panel.id_val = panel_id
    return built


def render() -> str:
    """The dashboard as the text of its file."""
    document = json.loads(JSONEncoder().encode(index_dashboard()))
    # A null id makes Grafana look the dashboard up by its uid; the SDK leaves the key out.
    return json.dumps({"id": None, **document}, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it would")
    options = parser.parse_args(arguments)
    text = render()
    if options.check:
        if OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == text:
            return 0
        print(f"{OUTPUT} is out of date; run python {__file__}", file=sys.stderr)
        return 1
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(text, encoding="utf-8")
    print(OUTPUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
