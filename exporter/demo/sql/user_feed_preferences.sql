-- Each user of the ranks first to last prefers a handful of authors, the busier ones more often.
INSERT INTO user_feed_preferences (user_id, author_id, weight, created_at)
SELECT
    md5('nova user ' || rank)::uuid,
    md5('nova user ' || floor(%(users)s::bigint * power(random(), 1.5)))::uuid,
    0.5 + random(),
    now() - random() * interval '300 days'
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS rank
    CROSS JOIN generate_series(1, %(authors)s::int)
ON CONFLICT DO NOTHING
