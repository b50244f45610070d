"""The fastest precisions on this machine, found by measuring files of a few blocks."""
