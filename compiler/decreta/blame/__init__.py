"""Which of the changes between two sides makes them differ: by mixing them, measuring the mixes, and searching."""
