"""The checked-in dashboard, read as data."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "grafana"
PATH = FOLDER / "dashboards" / "pg-index-exporter.json"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of the dashboard and where it stands."""

    place: str
    expr: str
    legend: str = ""


def load() -> dict[str, Any]:
    """The dashboard's JSON model."""
    model: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return model


def panels(model: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that show something, rows left out."""
    return [panel for panel in model["panels"] if panel["type"] != "row"]


def variables(model: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The template variables by name."""
    return {variable["name"]: variable for variable in model["templating"]["list"]}


def panel_queries(model: dict[str, Any]) -> list[Query]:
    """The queries of all panels."""
    return [
        Query(f"{panel['title']} [{target['refId']}]", target["expr"], target.get("legendFormat", ""))
        for panel in panels(model)
        for target in panel["targets"]
    ]


def annotation_queries(model: dict[str, Any]) -> list[Query]:
    """The queries of the annotations, their title and text taken as legend."""
    return [
        Query(note["name"], note["expr"], f"{note['titleFormat']} {note['textFormat']}")
        for note in model["annotations"]["list"]
    ]


def variable_queries(model: dict[str, Any]) -> list[Query]:
    """The selectors inside the label_values() of the template variables, the label taken as legend."""
    queries = []
    for name, variable in variables(model).items():
        if variable["type"] == "query":
            inside = variable["query"].removeprefix("label_values(").removesuffix(")")
            selector, label = inside.rsplit(", ", 1)
            queries.append(Query(f"variable {name}", selector, f"{{{{{label}}}}}"))
    return queries


def with_everything_chosen(expr: str, job: str, rate_interval: str) -> str:
    """The query as Grafana would send it for one job with All in every other variable."""
    expr = expr.replace('"$job"', f'"{job}"').replace("$__rate_interval", rate_interval)
    return re.sub(r'"\$[a-z]+"', '".+"', expr)
