"""Slack's side of the bot: what messages look like, how they get out, and who may do what.

Pure: ``limits``, ``markup``, ``render``, ``words``, ``card``, ``planned``, ``report``, ``thread``, ``modal``. With a network:
``client``, ``calls``, ``sender``, ``poster``, ``views``, ``permissions``, ``channels``, ``connection``, ``web``. Nothing here
parses a command; that is ``handlers``.
"""
