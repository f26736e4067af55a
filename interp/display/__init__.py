"""How values are shown: text made safe, numbers written the same everywhere."""
