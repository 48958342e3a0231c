"""The success criteria of a migration, each answered pass, fail or unknown with the reason. Pure.

    exists                an index of that name, or an equal one under another name
    valid and ready       queries may use it, writes maintain it
    partitions            of a partitioned table: each has its own, valid and attached
    definition            as declared, in the server's canonical form
    size                  within max_size_ratio of the table, where declared
    not null              the columns that must not hold NULL do not
    statistics            the table was analyzed after the build
    plan uses the index   each probe, with every parameter set of its sample
    time                  each probe within its max_seconds, where declared
    time before and after each probe, against the baseline

What cannot be judged is reported once: while the index is absent, INVALID or another one, there is no other
finding on it, and the time of a probe that could not be planned is not judged.
"""

from __future__ import annotations

from exporter.migrate.verify.criteria import verify
from exporter.migrate.verify.findings import SMALL_TABLE_PAGES, concerns

__all__ = ["SMALL_TABLE_PAGES", "concerns", "verify"]
