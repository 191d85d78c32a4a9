"""Files in: picks and labels of any format recognised, read, joined, matched, described."""
