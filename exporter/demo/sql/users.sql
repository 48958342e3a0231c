-- The users of the ranks first to last; rank 0 will be the heaviest sender and author.
INSERT INTO users (id, handle, display_name, created_at, deleted_at)
SELECT
    md5('nova user ' || rank)::uuid,
    'nova_' || rank,
    'Nova user ' || rank,
    now() - interval '400 days' + rank * (interval '30 days' / %(total)s::bigint),
    CASE WHEN random() < 0.02 THEN now() - random() * interval '30 days' END
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS rank
