"""Validation: are the proxies any good, how much are they worth in human votes, and how sure is that?"""
