"""The metric as a page on a Hub Space."""

import evaluate
from evaluate.utils import launch_gradio_widget

launch_gradio_widget(evaluate.load("soft_label.py"))
