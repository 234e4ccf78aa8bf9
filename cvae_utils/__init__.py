"""Conditional variational autoencoders on MNIST: the library behind the notebooks.

The rooms, in the order in which data flows through them: `data`, `masks`, `models`, `objectives`,
`distributed`, `snapshots`, `graphs`, `training`, `checkpoints`, `evaluation`, `plotting`,
`widgets`; `cli` is the same without a screen, and `export` brings models to a page. Each is
imported by name (`from cvae_utils import data, training`), so that none is paid for before it is
used.
"""

__version__ = "0.1.0"
