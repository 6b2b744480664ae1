"""Recipient domains: how much mail each of them gets at a time, by setting, and if it asks for less.

What has to wait is put back without a try, and holds no connection meanwhile: letters to other domains go on.
"""
