"""Any prefix of a plan, applied to a real server: planning again gives the rest, undoing gives the start."""

from collections.abc import Sequence

from exporter.migrate.assessment import read_plan
from exporter.migrate.execute.context import ExecutionContext
from exporter.migrate.execute.step_runs import StepRuns
from exporter.migrate.execute.steps.run import run_step
from exporter.model import Manifest, Step, StepKind, StepStatus
from exporter.postgres.journal import EventStatus, Journal, Phase
from tests.conftest import TestDatabase
from tests.postgres.migrate.running import QUICK, run_with
from tests.support.builds import as_declared, indexes_of, journal_of, leave_invalid
from tests.support.declared import declare, manifest_of

SENDER = declare("idx_sender", "messages", "sender_id")
CONTENT = declare("idx_content", "messages", "content", "md5(content)")
POST = declare("idx_post", "posts", "sender_id", where="deleted_at IS NULL")
STANDING = declare("idx_standing", "posts", "id")
MANIFEST = manifest_of(SENDER, CONTENT, POST, STANDING, analyze=("messages", "posts", "users"))
DEFINITIONS = (
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY (%s) ORDER BY 1"
)


def plan_again(shop: TestDatabase, journal: Journal, manifest: Manifest) -> tuple[Step, ...]:
    return read_plan(run_with(shop, manifest, journal)).plan.steps


def runs_in(shop: TestDatabase, journal: Journal) -> StepRuns:
    return StepRuns(ExecutionContext(as_declared(shop), journal, QUICK, on_note=lambda step, text: None))


def apply(step_runs: StepRuns, steps: Sequence[Step]) -> None:
    for step in steps:
        result = run_step(step_runs.of(step))
        assert result.status is StepStatus.DONE, result.message


def prepare(shop: TestDatabase) -> None:
    shop.execute("CREATE TABLE users (id int)")
    shop.execute("CREATE INDEX idx_standing ON posts (id)")
    shop.execute("ANALYZE")


def test_after_each_step_planning_again_gives_the_rest(shop: TestDatabase) -> None:
    prepare(shop)
    with journal_of(shop) as journal:
        journal.append(Phase.BUILDING, EventStatus.IN_PROGRESS, index_name="idx_sender")
        leave_invalid(shop, "CREATE INDEX CONCURRENTLY idx_sender ON messages (sender_id)")
        steps = plan_again(shop, journal, MANIFEST)
        assert [step.kind for step in steps] == [
            StepKind.DROP_INVALID,
            StepKind.BUILD,
            StepKind.BUILD,
            StepKind.ANALYZE,
            StepKind.BUILD,
            StepKind.ANALYZE,
            StepKind.ANALYZE,
        ]
        step_runs = runs_in(shop, journal)
        for done, step in enumerate(steps, 1):
            apply(step_runs, [step])
            assert plan_again(shop, journal, MANIFEST) == steps[done:]

    assert indexes_of(shop) == dict.fromkeys(("idx_sender", "idx_content", "idx_post", "idx_standing"), True)


def test_after_any_number_of_steps_undoing_them_gives_the_start(shop: TestDatabase) -> None:
    prepare(shop)
    tables = [["messages", "posts", "users"]]
    with journal_of(shop) as journal:
        start = shop.execute(DEFINITIONS, tables)
        steps = plan_again(shop, journal, MANIFEST)
        step_runs = runs_in(shop, journal)
        for done in range(1, len(steps) + 1):
            apply(step_runs, steps[:done])
            for step in reversed(steps[:done]):
                if step.undo is not None:
                    shop.execute(step.undo)
            assert shop.execute(DEFINITIONS, tables) == start
            assert plan_again(shop, journal, MANIFEST) == steps
