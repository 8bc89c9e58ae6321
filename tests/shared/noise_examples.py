"""An honest noise that looks like a measured one."""

from shared.honest_noise import HonestMargins, HonestNoise, HonestTail


def honest_noise(num_layers: int, scale: float = 1e-5) -> HonestNoise:
    """The same scale in every layer and band; scores of about 1, none above 2 in 50."""
    tail = HonestTail(quantiles=(1.0, 1.3, 1.5, 1.8, 2.0), exponent=4.0)
    return HonestNoise(
        position_bands=(4, 16, 64),
        scale=((scale,) * 4,) * num_layers,
        points=32,
        typical=tail,
        mean=tail,
        replay=tail,
        margins=HonestMargins(
            scale=0.05,
            exponent=3.0,
            above=(0.5, 0.4, 0.3, 0.2, 0.1, 0.03, 5e-3, 1e-3, 2e-4, 3e-5, 6e-6, 1e-6, 2e-7, 4e-8),
            tokens=10_000,
        ),
        fitted_requests=64,
        conditions=(),
    )
