INSERT INTO messages (sender_id, recipient_id, content)
VALUES (%(user_id)s, %(recipient_id)s, %(content)s)
RETURNING id
