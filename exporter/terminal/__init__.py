"""The live display of a run: `display` shows events, `bars` draws rows, `words` has the text of both."""
