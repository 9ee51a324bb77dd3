"""A benchmark that cannot flatter: every installed peer beside this package, the answers compared before the clock.

`registry` says what is measured, `peers` who takes part, `oracle` and `verify` what is right, `timing`, `memory` and
`limits` how it is measured, `targets` what the project has set itself. ``poolwise bench`` runs it (`cli`).
"""
