"""Gates: what a rollout's new version did, held against limits and a control group.

`pools` and `panel` take figures in, `evaluating` makes the checks, `shadowing`, `experiment` and
`custom` have checks of their own; `limits` are the numbers.
"""
