"""MSP-Podcast: `load_dataset("msp_podcast", data_dir=...)`.

builder: its folder, configs and splits. utterances: what the label files say together. labels: what their cells mean.
cells: csv, JSON and text as columns of cells, each row knowing its line.
"""

from dime_hf.corpora.msp_podcast.builder import MspPodcast, MspPodcastConfig, MspPodcastFolder

__all__ = ["MspPodcast", "MspPodcastConfig", "MspPodcastFolder"]
