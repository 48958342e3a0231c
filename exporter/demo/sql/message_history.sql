SELECT id, sender_id, content, created_at FROM messages
WHERE sender_id = %(user_id)s AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 50
