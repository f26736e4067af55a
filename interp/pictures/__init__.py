"""What does an input that is no text look like, and where in it does each position stand?

`input_picture` is the value: pixels or a wave, with the place of each position; `picturing` makes it of inputs and their model,
`position_places` finds the places, `time_axis` how time goes in a sound's, `png` writes pixels as a file; `heat` draws it, with a number for each position over it.

To show another kind of input: its kind in input_picture.py, how numbers become pixels in picturing.py, where positions stand in
position_places.py, and how it is drawn in heat.py.
"""
