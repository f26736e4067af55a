"""Verified attribution, method `auto`: cheap estimates, checked against exact patches, and bounds on what a top n lacks."""
