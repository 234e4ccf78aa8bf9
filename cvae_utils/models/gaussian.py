"""The diagonal Gaussian that every latent code in the series is drawn from."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cvae_utils.checks import check_beside, check_floats, check_generator


class Gaussian(NamedTuple):
    """A batch of Gaussians with independent dimensions, N(mu, diag(exp(logvar))).

    Attributes:
        mu: (B, latent_dim) means.
        logvar: (B, latent_dim) logarithms of the *variances*: any real number is allowed, so a
            linear layer can produce it as it is.
    """

    mu: Tensor
    logvar: Tensor

    def check(self, name: str = "") -> None:
        """Raise unless mu and logvar are floating-point tensors of one shape; values are trusted.

        Args:
            name: what the Gaussian is called where it came in, for the message.

        Raises:
            TypeError: one of them is no tensor.
            ValueError: other dtypes, or other shapes than (B, latent_dim).
        """
        mu, logvar = (f"{name}.{part}".lstrip(".") for part in self._fields)
        check_floats(mu, self.mu, "B", "latent_dim")
        check_floats(logvar, self.logvar, *self.mu.shape)
        check_beside(logvar, self.logvar, self.mu, mu)

    def _check_codes(self, name: str, codes: Tensor) -> None:
        self.check()
        rows, latent_dim = self.mu.shape
        check_floats(name, codes, ..., "B" if rows == 1 else rows, latent_dim)
        check_beside(name, codes, self.mu, "mu")

    @property
    def std(self) -> Tensor:
        """(B, latent_dim) standard deviations: exp(logvar / 2), not exp(logvar)."""
        return torch.exp(0.5 * self.logvar)

    def float32(self) -> Gaussian:
        """Return it in 32 bits or more: networks that compute in 16 answer in 16.

        A KL is a small difference of large numbers, and in 16 bits it comes out below zero.
        """
        dtype = torch.promote_types(self.mu.dtype, torch.float32)
        return Gaussian(self.mu.to(dtype), self.logvar.to(dtype))

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw one code per row, (B, latent_dim), so that gradients reach mu and logvar.

        The reparameterization trick (Kingma & Welling 2014, section 2.4): the noise is drawn
        apart from the parameters, z = mu + std * eps with eps ~ N(0, I).
        """
        self.check()
        check_generator("generator", generator, self.mu.device)
        # Contiguous: noise is filled in in memory's order, which a transposed mu has otherwise.
        eps = torch.empty_like(self.mu, memory_format=torch.contiguous_format)
        return self.mu + self.std * eps.normal_(generator=generator)

    def at(self, eps: Tensor) -> Tensor:
        """Return the codes that lie eps (..., B, latent_dim) standard deviations from the means.

        Leading dimensions are as in `log_prob`.
        """
        self._check_codes("eps", eps)
        return self.mu + self.std * eps

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log N(z; mu, diag(exp(logvar))) in nats, summed over the latent dimensions.

        Args:
            z: (..., B, latent_dim); leading dimensions are as many codes for each row, and a single
                row takes any number of them.

        Returns:
            (..., B).
        """
        self._check_codes("z", z)
        away = (z - self.mu) / self.std  # squared only now: exp(-logvar) alone may be infinite
        return -0.5 * (away.square() + self.logvar + math.log(2 * math.pi)).sum(-1)
