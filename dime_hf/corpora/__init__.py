"""Corpora: builders that emit every human vote and a soft label, label sets, vote policies, and the toy corpus."""
