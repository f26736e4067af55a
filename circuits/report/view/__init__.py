"""What does the interactive view of a circuit hold, as plain data?

`view` is the whole; `view_parts` knows each node and edge; `view_layouts` says what fits the frame and where it stands; `view_order` has the stops of the slider; `view_anatomy`
the panel of a node; `view_table` the table; `view_words` what is said beside the drawing.

To show another fact of a part: one key in view_parts.py, or in view_anatomy.py for the panel, and its reader in
`circuits/report/page/scripts/`.
"""
