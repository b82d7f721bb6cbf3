"""From what should be to what is: `targets` and `plan` compare, `reconciler` does the steps."""
