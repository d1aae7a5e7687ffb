"""How much W&B's projects may do at once, in a minute and in a month (docs/limits.md).

What one project does is counted by a pure machine (`project`), in this process's memory (`memory`) or by the same
rules in Redis (`shared`, `sharing`); `numbers` asks what a project may; `counting` is all of it behind one door.
"""
