"""Will `serve` work with these settings? Everything is tried once; each failure has a hint.

`run` tries the targets, `findings` judges what was observed, `report` writes it.
"""
