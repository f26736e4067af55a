"""What do two short forward passes tell of a model?

`sample` is what they run on; `watch` sees in the first one which modules attend, and `blocks` finds the chain of blocks around them;
`probe` watches the second one whole; `layout_probe` reads the layout off it: `mixers` what stands in the place of attention where a block
has none, `block_calls` what each module of a block reads and makes, `steps` which sums make up the block's output and `further_sums` what else may,
with the numbers that `fits` finds, `fronts` what stands in front of attention and MLP, `gates` what is inside an MLP, `sublayers` the whole block, `ends` what stands before the
first block and behind the last.

To take another form of block: the equation that rebuilds its output, in `further_sums`. See docs/extending/architecture.md.
"""
