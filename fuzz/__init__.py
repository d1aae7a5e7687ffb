"""Coverage-guided fuzzing of what reads bytes that others wrote: docs/fuzzing.md.

A target (`targets/`) is a function of bytes that raises when a rule does not hold; `process` runs one under atheris,
`run` starts that process and reads its statistics, `inputs` are the files that are kept.
"""
