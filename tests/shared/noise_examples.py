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
        tokens=HonestTail(quantiles=(0.5, 0.6, 0.8, 1.0, 2.0), exponent=1.0),
        margins=HonestMargins(
            unit=0.02,
            above=(0.03, 0.02, 0.01, 0.004, 0.001, 0.0005, 0.0002, 0.0001, 0.00005),
            tokens=10_000,
        ),
        fitted_requests=64,
        conditions=(),
    )
