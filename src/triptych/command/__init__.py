"""The command line: from the words that a user typed to a task that runs; nothing here imports torch."""
