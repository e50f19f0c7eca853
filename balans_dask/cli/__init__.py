"""The command line: a file has the options of its commands and what they do."""
