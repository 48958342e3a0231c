"""The dashboard's JSON model: what Grafana needs to import, provision and load it as it is.

The rules on titles, units, variables and data sources are those of Grafana's dashboard linter.
"""

import itertools
import json
import re
import warnings
from typing import Any

import pytest
import yaml

from tests.support import dashboard

MODEL = dashboard.load()
VARIABLES = dashboard.variables(MODEL)
PANELS = dashboard.panels(MODEL)
QUERY_VARIABLES = [name for name, variable in VARIABLES.items() if variable["type"] == "query"]

# The identifiers of Grafana's units that this dashboard has reason to use.
UNITS = {"none", "short", "percentunit", "bytes", "s", "ops", "cps", "reqps"}


def panel_name(panel: dict[str, Any]) -> str:
    title: str = panel["title"]
    return title


def test_can_be_provisioned_again_and_again() -> None:
    assert MODEL["id"] is None
    assert re.fullmatch(r"[a-z0-9-]{8,40}", MODEL["uid"])
    assert MODEL["editable"] is False
    assert MODEL["graphTooltip"] == 1
    # The model of current Grafana; the builder's older release line would write 36.
    assert MODEL["schemaVersion"] == 42


def test_needs_no_import_dialogue() -> None:
    text = dashboard.PATH.read_text(encoding="utf-8")

    assert "${DS_" not in text
    assert not {"__inputs", "__requires"} & set(MODEL)


def test_has_one_data_source_variable() -> None:
    sources = [variable for variable in VARIABLES.values() if variable["type"] == "datasource"]

    assert [(s["name"], s["label"], s["query"]) for s in sources] == [
        ("datasource", "Data source", "prometheus")
    ]


def test_variables_are_chained_from_the_left() -> None:
    assert QUERY_VARIABLES == ["job", "instance", "datname", "relname"]
    for position, name in enumerate(QUERY_VARIABLES):
        used = re.findall(r'(\w+)=~"\$(\w+)"', VARIABLES[name]["query"])
        assert used == [(left, left) for left in QUERY_VARIABLES[:position]]


@pytest.mark.parametrize("name", QUERY_VARIABLES)
def test_variable_follows_the_time_range_and_takes_several_values(name: str) -> None:
    variable = VARIABLES[name]

    assert variable["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert variable["label"]
    assert variable["multi"] is True
    assert variable["allValue"] == ".+"
    assert variable["refresh"] == 2


def test_all_jobs_cannot_be_chosen_at_once() -> None:
    """Other exporters publish series of the same names, process_* for one."""
    assert [name for name in QUERY_VARIABLES if not VARIABLES[name]["includeAll"]] == ["job"]


def test_panels_say_what_they_show() -> None:
    for panel in PANELS:
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS, panel["title"]
        overridden = [
            field["value"]
            for override in panel["fieldConfig"].get("overrides", [])
            for field in override["properties"]
            if field["id"] == "unit"
        ]
        assert set(overridden) <= UNITS, panel["title"]


def test_panels_query_the_chosen_data_source() -> None:
    for panel in PANELS:
        assert panel["targets"], panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert all(refs), panel["title"]
        assert len(set(refs)) == len(refs), panel["title"]


def test_titles_are_unique_within_their_row() -> None:
    row, seen = "", set()
    for panel in MODEL["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        assert (row, panel["title"], panel["type"]) not in seen
        seen.add((row, panel["title"], panel["type"]))


def test_panel_ids_are_unique() -> None:
    ids = [panel["id"] for panel in MODEL["panels"]]

    assert 0 not in ids
    assert len(set(ids)) == len(ids)


def test_panels_do_not_overlap() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        columns = range(at["x"], at["x"] + at["w"])
        return set(itertools.product(columns, range(at["y"], at["y"] + at["h"])))

    taken: set[tuple[int, int]] = set()
    for panel in MODEL["panels"]:
        assert not taken & cells(panel), panel["title"]
        assert max(x for x, _ in cells(panel)) < 24
        taken |= cells(panel)


@pytest.mark.parametrize("panel", [p for p in PANELS if p["type"] == "table"], ids=panel_name)
def test_table_names_every_column_and_shows_no_raw_one(panel: dict[str, Any]) -> None:
    organize = panel["transformations"][1]["options"]
    values = {f"Value #{target['refId']}" for target in panel["targets"]}
    hidden = {name for name, is_hidden in organize["excludeByName"].items() if is_hidden}
    overrides = [o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]]

    assert set(organize["renameByName"]) == values - hidden
    assert overrides == list(organize["renameByName"].values())
    assert panel["options"]["sortBy"][0]["displayName"] in {
        *organize["renameByName"].values(),
        *organize["indexByName"],
    }
    assert [target["format"] for target in panel["targets"]] == ["table"] * len(values)
    assert all(target["instant"] for target in panel["targets"])


def test_holds_nothing_that_the_model_does_not_know() -> None:
    """What the model cannot read is lost in a round trip, and Grafana would ignore it."""
    with warnings.catch_warnings():
        # The SDK warns at import that Grafana also has a newer model.
        warnings.simplefilter("ignore", DeprecationWarning)
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
        from grafana_foundation_sdk.cog.plugins import register_default_plugins
        from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(MODEL)))

    assert {"id": None, **again} == MODEL


@pytest.mark.parametrize("path", sorted(dashboard.FOLDER.glob("provisioning/*/*.yml")), ids=str)
def test_provisioning_file_is_read_without_an_import_dialogue(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    document = yaml.safe_load(text)

    assert document["apiVersion"] == 1
    assert "${DS_" not in text


def test_provisioned_data_source_knows_the_scrape_interval() -> None:
    """Without it Grafana assumes 15 s and $__rate_interval is wrong for any other."""
    text = (dashboard.FOLDER / "provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    (source,) = yaml.safe_load(text)["datasources"]

    assert source["type"] == "prometheus"
    assert re.fullmatch(r"\d+s", source["jsonData"]["timeInterval"])
