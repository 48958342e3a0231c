-- As in an app whose plans were never checked: the referencing columns have no index.
ALTER TABLE messages
    ADD FOREIGN KEY (sender_id) REFERENCES users,
    ADD FOREIGN KEY (recipient_id) REFERENCES users;
ALTER TABLE posts
    ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE user_feed_preferences
    ADD FOREIGN KEY (user_id) REFERENCES users,
    ADD FOREIGN KEY (author_id) REFERENCES users;
