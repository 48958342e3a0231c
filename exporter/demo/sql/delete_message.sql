UPDATE messages SET deleted_at = now() WHERE id = %(message_id)s AND deleted_at IS NULL
