SELECT posts.id, posts.user_id, users.handle, posts.content, posts.created_at
FROM user_feed_preferences AS preference
    JOIN users ON users.id = preference.author_id AND users.deleted_at IS NULL
    JOIN posts ON posts.user_id = preference.author_id AND posts.deleted_at IS NULL
WHERE preference.user_id = %(user_id)s
ORDER BY posts.created_at DESC
LIMIT 50
