"""Names that would break a page, a statement or a line of text where one forgot to quote them."""

NAMES = (
    'quo"ted',
    "it's",
    "new\nline\r\n\ttab",
    "back\\slash \\n \\\\",
    "<script>alert('x')</script>&amp;",
    '{label="x"} 1 # EOF',
    "%s %(name)s {schema} $1 :x",
    "Żółć→" * 5 + "end",
    "\u202eright to left\u202c",
    "'); DROP TABLE messages; --",
    "pg_stat_all_indexes",
)


def index_name(number: int, table: str) -> str:
    """A hostile name as well, which fits beside its table's and into 63 bytes."""
    return f"{number}{table}".encode()[:63].decode(errors="ignore")
