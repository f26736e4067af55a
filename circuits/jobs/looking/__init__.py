"""What do the commands do that look inside a model without a circuit?

`look` is what they share: the model, the work, and at the end one run directory with a table for each value, `looked.json` and a page;
`given_prompts` are the texts that a command was given, and its layers. `lens_look` is lens, `statistics_look` statistics, `depth_look` depth.

To add one, say `circuits probe`:

1. its options: a value in circuits/settings/looking_options.py that extends `LookOptions` and the mixins that it needs;
2. its job: a file probe_look.py here with `run(asked)`, which checks what needs no model, and then calls `look(asked, "probe", work)`;
   `work(model, say)` returns `Found`: the `Looked` of the page (sentences, sections with rows and a figure) and the tables to be kept;
3. its command: a function in circuits/cli/commands/looking_commands.py, three lines; a line of `_COMMANDS` in circuits/cli/app.py;
4. its place in --help: its name in `COMMANDS`, its own options in `OPTIONS` of circuits/cli/options/help_sections.py;
5. a paragraph of docs/howto/look-inside.md; bad options in tests/circuits/cli/other_commands/test_looking_commands.py.
"""
