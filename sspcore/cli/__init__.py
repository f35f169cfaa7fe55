"""The command `sspcore`: a module for each group of subcommands. What is slow to import is imported inside the functions."""
