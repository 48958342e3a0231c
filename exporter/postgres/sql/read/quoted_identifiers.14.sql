-- Each given name as the server writes it in a definition: in double quotes where it needs them.
-- privileges: none; lock: none; cost: constant
SELECT
    names.name,
    pg_catalog.quote_ident(names.name) AS quoted_name
FROM pg_catalog.unnest(%(names)s::pg_catalog.text[]) AS names (name)
