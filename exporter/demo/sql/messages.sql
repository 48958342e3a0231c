-- The rows numbered first to last of total, oldest first as an app would have written them.
-- power(random(), 3) makes few heavy senders and many light ones: the heaviest hundredth writes a fifth.
INSERT INTO messages (id, sender_id, recipient_id, content, created_at, deleted_at)
SELECT
    md5('nova message ' || number)::uuid,
    md5('nova user ' || floor(%(users)s::bigint * power(random(), 3)))::uuid,
    md5('nova user ' || floor(%(users)s::bigint * random()))::uuid,
    text.content,
    written_at,
    CASE WHEN random() < 0.05 THEN written_at + random() * (now() - written_at) END
FROM (
    SELECT
        number,
        floor(random() * 10000)::int AS text_number,
        now() - interval '365 days' * (1 - number / %(total)s::float8) AS written_at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
) AS message
    -- OFFSET 0 keeps this a look-up per row: a join could turn round and lose the order.
    CROSS JOIN LATERAL (
        SELECT content FROM nova_text WHERE nova_text.number = message.text_number OFFSET 0
    ) AS text
