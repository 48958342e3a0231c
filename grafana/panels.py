"""Panels in one form: each with a title, a description, a unit and the data source variable.

Series are written by `series`, which takes the matchers from the metric table, so that a dashboard
cannot name a metric or filter by a label that the exporter does not have.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    TableSortByFieldState,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as StatPanel
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimelinePanel
from grafana_foundation_sdk.builders.table import Panel as TablePanel
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeriesPanel
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from exporter.catalogue import metrics as catalogue

# The labels that name one server, database, table or index, for `by` and `on`.
SERVER = "job, instance"
DATABASE = f"{SERVER}, datname"
TABLE = f"{DATABASE}, schemaname, relname"
INDEX = f"{TABLE}, indexname"

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
FULL_WIDTH = 24

Row = tuple[str, Sequence[Builder[dashboard.Panel]]]

# Labels that a template variable of the same name filters. The exporter row is not narrowed to one
# database: a collector that serves the whole target has no database in its label.
_FILTERS = ("datname", "relname")
_UNFILTERED_SCOPES = ("target", "exporter")
_METRICS = {metric.name: metric for metric in catalogue.METRICS}
# Published by Prometheus about a scrape, and by prometheus-client about the process.
_FOREIGN = ("up", *catalogue.PROCESS_METRICS)


def series(*names: str, **labels: str) -> str:
    """The selector of one metric, or of several that have the same labels, narrowed by the variables.

    `labels` are values that it must have besides.
    Raises: KeyError, where a name is not in the metric table.
    """
    filters: list[str] = []
    if names[0] not in _FOREIGN:
        metric = _METRICS[names[0]]
        if metric.scope not in _UNFILTERED_SCOPES:
            filters = [label for label in _FILTERS if label in metric.labels]
        for name in names[1:]:
            if _METRICS[name].labels != metric.labels:
                raise ValueError(f"{name} and {names[0]} differ in their labels")
    matchers = [f'{label}=~"${label}"' for label in ("job", "instance", *filters)]
    matchers += [f'{label}="{value}"' for label, value in labels.items()]
    if len(names) == 1:
        return f"{names[0]}{{{', '.join(matchers)}}}"
    either = f'__name__=~"{"|".join(names)}"'
    return f"{{{', '.join([either, *matchers])}}}"


def per_second(name: str) -> str:
    """The rate of a counter over the interval that Grafana derives from the scrape interval."""
    return f"rate({series(name)}[$__rate_interval])"


def last_hour(name: str) -> str:
    """The increase of a counter over the hour that the alert judges, whatever the time picker says."""
    return f"increase({series(name)}[1h])"


@dataclass(frozen=True, slots=True)
class Column:
    """One value column of a table: the query that fills it and how it is shown."""

    title: str
    expr: str
    unit: str = "none"
    states: Mapping[str, tuple[str, str]] | None = None
    hidden: bool = False


PRESENT = {"0": ("no", "red"), "1": ("yes", "green")}
UP = {"0": ("down", "red"), "1": ("up", "green")}


def mappings(states: Mapping[str, tuple[str, str]]) -> list[dashboard.ValueMapping]:
    """Return Grafana's value mappings for states: value -> (text, colour)."""
    return [
        dashboard.ValueMap(
            options={
                value: dashboard.ValueMappingResult(text=text, color=color, index=index)
                for index, (value, (text, color)) in enumerate(states.items())
            }
        )
    ]


def thresholds(*steps: tuple[float | None, str]) -> ThresholdsConfig:
    """Absolute thresholds, from (lower bound, colour); the first bound is None."""
    return (
        ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=bound, color=color) for bound, color in steps])
    )


def _query(ref_id: str, expr: str, legend: str = "") -> Dataquery:
    query = Dataquery().datasource(DATASOURCE).ref_id(ref_id).expr(expr)
    return query.legend_format(legend) if legend else query


def stat(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "none",
    steps: Sequence[tuple[float | None, str]] = ((None, "blue"),),
    states: Mapping[str, tuple[str, str]] | None = None,
    no_value: str = "unknown",
) -> Builder[dashboard.Panel]:
    """One figure as of now. What is not known is shown as `no_value`, never as 0."""
    panel = (
        StatPanel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(_query("A", expr).instant())
        .unit(unit)
        .no_value(no_value)
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(thresholds(*steps))
        .span(4)
        .height(4)
    )
    return panel.mappings(mappings(states)) if states else panel


def graph(
    title: str,
    description: str,
    queries: Mapping[str, str],
    *,
    unit: str,
    maximum: float | None = None,
    span: int = 12,
) -> Builder[dashboard.Panel]:
    """Lines over time; `queries` maps legend to expression."""
    panel = (
        TimeSeriesPanel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.AUTO)
        .legend(_legend(common.LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"]))
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .span(span)
        .height(8)
    )
    for ref_id, (legend, expr) in zip(string.ascii_uppercase, queries.items(), strict=False):
        panel.with_target(_query(ref_id, expr, legend).range())
    return panel if maximum is None else panel.max(maximum)


def timeline(
    title: str,
    description: str,
    queries: Mapping[str, str],
    states: Mapping[str, tuple[str, str]],
    *,
    span: int = 12,
) -> Builder[dashboard.Panel]:
    """States over time, one bar for each series."""
    panel = (
        StateTimelinePanel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("none")
        .mappings(mappings(states))
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .legend(_legend(common.LegendDisplayMode.LIST))
        .span(span)
        .height(8)
    )
    for ref_id, (legend, expr) in zip(string.ascii_uppercase, queries.items(), strict=False):
        panel.with_target(_query(ref_id, expr, legend).range())
    return panel


def table(
    title: str,
    description: str,
    columns: Sequence[Column],
    *,
    labels: Sequence[str],
    sort_by: str,
    descending: bool = False,
    height: int = 8,
) -> Builder[dashboard.Panel]:
    """One row for each combination of labels as of now, one query for each column.

    Every query must give the same labels: Grafana's merge joins rows on the fields they share.
    `labels` are the ones shown, in that order; `job` is in every row and never shown.
    """
    panel = (
        TablePanel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("none")
        .no_value("unknown")
        .filterable(True)
        .sort_by([TableSortByFieldState().display_name(sort_by).desc(descending)])
        .span(FULL_WIDTH)
        .height(height)
    )
    fields = {}
    for ref_id, column in zip(string.ascii_uppercase, columns, strict=False):
        panel.with_target(_query(ref_id, column.expr).instant().format(PromQueryFormat.TABLE))
        fields[f"Value #{ref_id}"] = column
        if not column.hidden:
            panel.override_by_name(column.title, _cells(column))
    hidden = ["Time", "job", *(name for name, column in fields.items() if column.hidden)]
    order = [*labels, *(name for name, column in fields.items() if not column.hidden)]
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        dashboard.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(hidden, True),
                "indexByName": {name: index for index, name in enumerate(order)},
                "renameByName": {name: column.title for name, column in fields.items() if not column.hidden},
            },
        )
    )
    return panel


def _cells(column: Column) -> list[dashboard.DynamicConfigValue]:
    cells = [dashboard.DynamicConfigValue(id_val="unit", value=column.unit)]
    if column.states:
        cells += [
            dashboard.DynamicConfigValue(id_val="mappings", value=mappings(column.states)),
            dashboard.DynamicConfigValue(
                id_val="custom.cellOptions", value=common.TableColorTextCellOptions()
            ),
        ]
    return cells


def _legend(mode: common.LegendDisplayMode) -> VizLegendOptions:
    return VizLegendOptions().display_mode(mode).placement(common.LegendPlacement.BOTTOM).show_legend(True)
