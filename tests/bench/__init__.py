"""``make bench``: how fast and how small the bot is, next to something else that does the same in the same run.

``figures`` the arithmetic and the lines · ``place`` the world that everything is measured in · ``bare`` the other bot ·
``guide`` the other way to upgrade · ``ticking`` our bot with a clock · ``acks``, ``upgrades``, ``residence`` and ``plans``
measure. pytest only collects the arithmetic.
"""
