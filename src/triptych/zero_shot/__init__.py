"""Classification and retrieval by words: what a contrastive model knows without having been taught."""
