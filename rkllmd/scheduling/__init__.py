"""Who runs when: `turns` and `residency` decide, the others do it."""
