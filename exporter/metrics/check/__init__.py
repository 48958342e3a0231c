"""Will `serve` work as it is set? Everything tried once, each shortcoming with its hint.

`run` tries the targets, `findings` judges what was found, `report` writes it down.
"""
