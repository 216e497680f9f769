"""Models: where one comes from, what it takes, what it gives. How it runs is the business of the engines."""
