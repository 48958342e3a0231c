"""What is told to people, apart from who tells it: content as plain data, and its forms. Pure.

`content` has the nouns, `plain` writes them for a terminal, `markdown` as Markdown; `findings` tells
criteria.
"""
