"""What is said of classes: templates, names of classes, and how users give them."""
