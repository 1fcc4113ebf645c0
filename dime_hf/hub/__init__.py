"""What leaves the machine, and how it comes back: datasets, metrics and a page to look at soft labels, on the Hub."""

from dime_hf.hub.attach import attach_audio
from dime_hf.hub.card import dataset_card
from dime_hf.hub.push import push_to_hub
from dime_hf.hub.share import INCLUDE
from dime_hf.hub.spaces import push_metric, push_space

__all__ = ["INCLUDE", "attach_audio", "dataset_card", "push_metric", "push_space", "push_to_hub"]
