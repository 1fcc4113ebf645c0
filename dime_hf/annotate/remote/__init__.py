"""Annotators behind an endpoint: chat models that hear, and services that return option probabilities."""

from dime_hf.annotate.remote.budget import Budget
from dime_hf.annotate.remote.chat import RemoteAnnotator
from dime_hf.annotate.remote.decisions import DecisionAnnotator
from dime_hf.annotate.remote.endpoint import Patience

__all__ = ["Budget", "DecisionAnnotator", "Patience", "RemoteAnnotator"]
