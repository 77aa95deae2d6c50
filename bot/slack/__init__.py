"""Slack's side of the bot: what messages look like, how they get out, and who may do what.

Pure: ``limits``, ``markup``, ``render``, ``words``, ``card``, ``report``, ``thread``. With a network: ``client``, ``calls``,
``poster``, ``permissions``, ``channels``, ``connection``, ``web``. Nothing here parses a command; that is ``handlers``.
"""
