"""Rows that break the uniqueness of an index, or its expressions."""

from dataclasses import replace
from typing import Any

import pytest
from psycopg import sql

from exporter.model import Verdict
from tests.conftest import TestDatabase
from tests.postgres.migrate.preflight.looking import OPTIONS, findings_of, only
from tests.support.declared import declare


@pytest.mark.oldest_too
def test_duplicates_are_counted_and_not_shown(shop: TestDatabase) -> None:
    by_sender = declare("u", "messages", "sender_id", unique=True)
    finding = only(findings_of(shop, by_sender), "duplicates")

    assert (finding.verdict, dict(finding.facts)) == (Verdict.FAIL, {"key_count": 10, "row_count": 1000})
    assert finding.found == "10 keys occur more than once, in 1000 rows"
    by_id = declare("u", "messages", "id", "lower(content)", unique=True)
    assert only(findings_of(shop, by_id), "duplicates").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({}, Verdict.PASS),
        ({"where": "deleted_at IS NOT NULL"}, Verdict.PASS),
        pytest.param({"nulls_not_distinct": True}, Verdict.FAIL, marks=pytest.mark.pg(">= 15")),
    ],
)
def test_nulls_are_duplicates_only_where_declared(
    shop: TestDatabase, options: dict[str, Any], verdict: Verdict
) -> None:
    index = declare("u", "messages", "deleted_at", unique=True, **options)

    assert only(findings_of(shop, index), "duplicates").verdict is verdict


def test_what_takes_too_long_to_count_is_unknown(shop: TestDatabase) -> None:
    shop.execute(
        "CREATE FUNCTION slow(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql "
        "AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN n; END $$"
    )
    index = declare("u", "messages", "public.slow(id)", unique=True)
    patient = replace(OPTIONS, query_budget_seconds=0.4)
    found = findings_of(shop, index, options=patient)

    # Its rows cannot be sampled in that time either.
    assert Verdict.FAIL not in {one.verdict for one in found}
    assert {one.reason for one in found if one.subject == "public.u"} <= {"too_slow", "not_planned"}


def test_an_expression_that_fails_is_told_without_the_value(shop: TestDatabase) -> None:
    shop.execute("UPDATE messages SET status = 'hunter2' WHERE id = 500")
    index = declare("u", "messages", "(CASE WHEN id = 500 THEN status::int ELSE id END)", unique=True)
    found = findings_of(shop, index)

    assert "hunter2" not in "".join(one.found + (one.hint or "") for one in found)
    assert {one.verdict for one in found if one.subject == "public.u"} & {Verdict.UNKNOWN, Verdict.FAIL}


def test_a_function_that_may_not_be_called_hides_the_duplicates(shop: TestDatabase, stranger: str) -> None:
    for statement in (
        "CREATE FUNCTION secret(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN n; END $$",
        "REVOKE EXECUTE ON FUNCTION secret FROM PUBLIC",
        "GRANT SELECT ON messages TO {}",
    ):
        shop.execute(sql.SQL(statement).format(sql.Identifier(stranger)))
    found = only(
        findings_of(shop, declare("u", "messages", "public.secret(id)", unique=True), user=stranger),
        "duplicates",
    )

    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "not_permitted")
    assert found.found == "permission denied for function secret"
