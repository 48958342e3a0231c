-- The texts of messages and posts; 139 to 479 bytes each, 259 on average.
CREATE TEMPORARY TABLE nova_text (number int PRIMARY KEY, content text NOT NULL);
INSERT INTO nova_text
SELECT
    number,
    rtrim(
        openings[1 + floor(random() * cardinality(openings))::int]
        || sentences[1 + floor(random() * cardinality(sentences))::int]
        || sentences[1 + floor(random() * cardinality(sentences))::int]
        || CASE WHEN random() < 0.6 THEN sentences[1 + floor(random() * cardinality(sentences))::int] ELSE '' END
        || CASE WHEN random() < 0.2 THEN sentences[1 + floor(random() * cardinality(sentences))::int]
                || sentences[1 + floor(random() * cardinality(sentences))::int] ELSE '' END
    )
FROM generate_series(0, 9999) AS number
    CROSS JOIN (
        SELECT
            ARRAY[
                'Hi! ', 'Morning. ', 'Quick question: ', 'Hey, ', 'Following up on yesterday: ',
                'Sorry for the late reply. ', 'Good news! ', 'Before I forget: ', 'No hurry, but ', ''
            ] AS openings,
            ARRAY[
                'the train was late again, so I walked the last part along the river and it was worth it. ',
                'could you send me the photos from Saturday when you find a quiet minute? ',
                'I moved our table to seven because the small place on the corner opens later in winter. ',
                'my sister says the second season is better than the first, and she is hard to please. ',
                'the parcel stands at the neighbour on the third floor, the bell is broken, so please knock. ',
                'I read the draft twice and would only change the ending, the rest is very good as it is. ',
                'we are four for the mountains now; somebody should check the weather before we book. ',
                'thank you for yesterday, it helped a lot to say it all out loud to somebody. ',
                'the bike is repaired: new chain, new brakes, and the noise was only a loose screw. ',
                'do you still have the recipe with the lemons? Mine came out far too sweet. ',
                'I will be on the phone until noon, then free for the whole afternoon. ',
                'the concert starts at eight, doors at seven, and the tickets are on my telephone. '
            ] AS sentences
    ) AS corpus;
ANALYZE nova_text;
