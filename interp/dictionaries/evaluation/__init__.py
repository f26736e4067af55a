"""What a dictionary is worth, and what people look at in it: numbers, probes, dashboards."""
