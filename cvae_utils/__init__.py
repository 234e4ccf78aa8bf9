"""Conditional variational autoencoders on MNIST: the library behind the notebooks.

The rooms, in order, none of which needs a later one: `checks` and `files`, which all others use;
then as data flows, `data`, `masks`, `models`, `objectives`, `distributed`, `interrupts`,
`snapshots`, `graphs`, `training`, `checkpoints`, `evaluation`, `plotting`, `widgets`; `export`
brings models to a page, and `cli` is the same without a screen. Each is imported by name
(`from cvae_utils import data, training`), so that none is paid for before it is used.
"""

__version__ = "0.1.0"
