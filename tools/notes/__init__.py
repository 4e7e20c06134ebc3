"""Parts of the builder of `data/notes`: run `tools/notes_data.py` in the folder above."""
