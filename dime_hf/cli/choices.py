"""What options can be, as plain values: importing what they name takes seconds (a test compares the two)."""

PROMPTS = ("tone_and_words", "tone", "word_choice", "subtle_cues", "what_and_how")
STRATEGIES = ("options", "sample", "verbalised", "paper")
POOLERS = ("human", "synthetic", "equal", "linear", "prior", "fitted", "calibrated", "debiased")
ENCODINGS = ("float", "pcm16", "flac")
HEADS = ("options", "classifier")
MODALITIES = ("both", "audio", "text")
LOSSES = (
    "kl", "soft_cross_entropy", "js", "js_entropy", "emd2", "sinkhorn", "dirichlet_multinomial", "dirichlet_prior",
    "evidential", "focal", "balanced_softmax",
)  # fmt: skip
