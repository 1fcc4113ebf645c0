"""The page that `push_space` puts on a Hub Space."""
