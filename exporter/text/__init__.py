"""Texts for people: content as plain data, and its forms. Pure.

`content` has the nouns, `plain` writes them for a terminal, `markdown` as Markdown, `findings` composes
criteria, `figures` formats numbers and times.
"""
