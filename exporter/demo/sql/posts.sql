-- The rows numbered first to last of total, as messages.sql: few heavy authors and many light ones.
INSERT INTO posts (id, user_id, content, created_at, deleted_at)
SELECT
    md5('nova post ' || number)::uuid,
    md5('nova user ' || floor(%(users)s::bigint * power(random(), 3)))::uuid,
    text.content,
    written_at,
    CASE WHEN random() < 0.05 THEN written_at + random() * (now() - written_at) END
FROM (
    SELECT
        number,
        floor(random() * 10000)::int AS text_number,
        now() - interval '365 days' * (1 - number / %(total)s::float8) AS written_at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
) AS post
    CROSS JOIN LATERAL (
        SELECT content FROM nova_text WHERE nova_text.number = post.text_number OFFSET 0
    ) AS text
