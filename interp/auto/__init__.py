"""Verified attribution, method `auto`: cheap estimates, checked against exact patches, and a top n that is certified."""
