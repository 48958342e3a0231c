"""The builds that run in the database."""

from __future__ import annotations

from dataclasses import replace

from exporter.metrics.collect.context import Collected, DatabaseContext, Steps
from exporter.postgres.builds.progress import combined_builds, running_builds


class BuildsCollector:
    """Collects the progress of running builds."""

    name = "builds"

    def collect(self, context: DatabaseContext) -> Steps:
        """The steps of one collection."""
        request = running_builds()
        answers = yield (request,)
        builds = combined_builds(answers.of(request))
        # Builds of other roles have neither phase nor oids without pg_read_all_stats.
        shown = tuple(build for build in builds if build.phase)
        hidden = len(builds) - len(shown)
        gap = f"{hidden} builds of other roles are hidden; grant pg_monitor" if hidden else None
        return Collected(replace(context.snapshot, builds=shown), gap)
