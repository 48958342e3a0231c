"""Constructors of the findings of verify, and their subjects."""

from __future__ import annotations

from exporter.model import DeclaredIndex, Finding, IndexFacts, Probe, RelationName, Verdict

# Below this reading the whole table is cheaper, and a single page changes a ratio.
SMALL_TABLE_PAGES = 100


def concerns(finding: Finding, declared: DeclaredIndex) -> bool:
    """True when the finding is about the declared index, one of its partitions or of its probes."""
    subject = subject_of(declared)
    probes = {probe_subject(declared, probe) for probe in declared.probes}
    return finding.subject in {subject, *probes} or finding.subject.startswith(_partition_prefix(subject))


def subject_of(declared: DeclaredIndex) -> str:
    """The subject of findings about an index."""
    return declared.relation.quoted


def probe_subject(declared: DeclaredIndex, probe: Probe) -> str:
    """The subject of findings about a probe."""
    return f"{subject_of(declared)}, probe {probe.name}"


def partition_subject(declared: DeclaredIndex, partition: RelationName) -> str:
    """The subject of findings about a partition of a partitioned table."""
    return _partition_prefix(subject_of(declared)) + partition.quoted


def _partition_prefix(subject: str) -> str:
    return f"{subject}, partition "


def is_small(facts: IndexFacts) -> bool:
    """True when the table is too small to judge."""
    return facts.table_pages is not None and facts.table_pages < SMALL_TABLE_PAGES


def passed(criterion: str, subject: str, reason: str, found: str) -> Finding:
    """A criterion that holds."""
    return Finding(criterion, subject, Verdict.PASS, reason, found)


def failed(criterion: str, subject: str, reason: str, found: str, hint: str) -> Finding:
    """A criterion that does not hold."""
    return Finding(criterion, subject, Verdict.FAIL, reason, found, hint)


def unknown(criterion: str, subject: str, reason: str, found: str, hint: str) -> Finding:
    """A criterion that cannot be judged."""
    return Finding(criterion, subject, Verdict.UNKNOWN, reason, found, hint)
