"""A plan as text: as EXPLAIN writes it, and without a single value of a row."""

from exporter.evidence.plan_text import plan_text

SCAN = {
    "Node Type": "Index Scan",
    "Parallel Aware": False,
    "Scan Direction": "Forward",
    "Index Name": "idx_messages_sender_created",
    "Relation Name": "messages",
    "Schema": "public",
    "Alias": "messages",
    "Startup Cost": 0.29,
    "Total Cost": 8.3,
    "Plan Rows": 1,
    "Output": ["id", "'canary-output'::text"],
    "Index Cond": "(messages.sender_id = 'canary-value'::uuid)",
    "Filter": "((messages.deleted_at IS NULL) AND (messages.score > 4711))",
}


def test_nodes_costs_and_conditions_stand_as_in_explain() -> None:
    limit = {
        "Node Type": "Limit",
        "Startup Cost": 0.29,
        "Total Cost": 8.31,
        "Plan Rows": 50,
        "Plans": [SCAN],
    }

    assert plan_text(limit).splitlines() == [
        "Limit  (cost=0.29..8.31 rows=50)",
        "  ->  Index Scan using idx_messages_sender_created on public.messages  (cost=0.29..8.30 rows=1)",
        "        Index Cond: (messages.sender_id = ?::uuid)",
        "        Filter: ((messages.deleted_at IS NULL) AND (messages.score > ?))",
    ]


def test_no_constant_of_any_condition_is_left() -> None:
    keys = ("Index Cond", "Recheck Cond", "Filter", "Join Filter", "Hash Cond", "Order By", "One-Time Filter")
    node: dict[str, str | list[str]] = {
        "Node Type": "Result",
        **dict.fromkeys(keys, "(a = 'canary''s'::text) AND b = ANY ('{canary,7}')"),
    }
    node |= {"Sort Key": ["(a <-> 'canary')"], "Group Key": ["'canary'"], "Cache Key": "E'canary\\''"}

    text = plan_text(node)

    assert "canary" not in text
    assert text.count("?") > len(keys)


def test_a_name_is_quoted_and_stays_on_its_line() -> None:
    node = {"Node Type": "Seq Scan", "Schema": "Odd", "Relation Name": "a\nb\u202e", "Alias": "x y"}

    assert plan_text(node) == 'Seq Scan on "Odd"."a\\nb\\u202e" "x y"'


def test_joins_aggregates_workers_and_subplans_are_named_as_the_server_names_them() -> None:
    plan = {
        "Node Type": "Aggregate",
        "Strategy": "Hashed",
        "Partial Mode": "Finalize",
        "Group Key": ["p.user_id"],
        "Plans": [
            {
                "Node Type": "Hash Join",
                "Join Type": "Left",
                "Hash Cond": "(p.user_id = u.id)",
                "Plans": [
                    {"Node Type": "Seq Scan", "Parallel Aware": True, "Relation Name": "posts", "Alias": "p"},
                    {"Node Type": "Bitmap Index Scan", "Index Name": "i", "Subplan Name": "SubPlan 1"},
                ],
            }
        ],
    }

    assert plan_text(plan).splitlines() == [
        "Finalize HashAggregate",
        "  Group Key: p.user_id",
        "  ->  Hash Left Join",
        "        Hash Cond: (p.user_id = u.id)",
        "        ->  Parallel Seq Scan on posts p",
        "        SubPlan 1",
        "          ->  Bitmap Index Scan on i",
    ]
