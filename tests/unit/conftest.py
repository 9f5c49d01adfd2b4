"""Settings of the unit tests."""

from hypothesis import HealthCheck, settings

# A busy machine stalls any example now and then; that is no finding. pytest-timeout ends what really hangs.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")
