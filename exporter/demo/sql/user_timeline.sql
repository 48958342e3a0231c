SELECT id, user_id, content, created_at FROM posts
WHERE user_id = %(user_id)s AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 20
