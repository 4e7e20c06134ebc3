"""Parts of the builder of `data/emoji`: packages, concepts, names, drawings, splits, shards, documents."""
