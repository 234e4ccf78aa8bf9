"""What the series measures, the same way for every model."""

from cvae_utils.evaluation.codes import kl_per_dimension, label_probe, posterior_codes
from cvae_utils.evaluation.estimates import Estimate, Share, accuracy, wilson
from cvae_utils.evaluation.holes import HoleScores, hole_scores
from cvae_utils.evaluation.likelihood import (
    Elbo,
    elbo,
    hole_nll,
    negative_log_likelihood,
    reconstruction_error,
)
from cvae_utils.evaluation.report import (
    COMPARED,
    OF_HOLES,
    compare,
    drawing_time,
    measure,
    models_in,
    parameters,
    readable,
    recorded_holes,
)
from cvae_utils.evaluation.samples import (
    Diversity,
    Nearest,
    Reference,
    SampleScores,
    density_and_coverage,
    features,
    frechet_distance,
    label_faithfulness,
    nearest,
    neighbourhoods,
    sample_labels,
)
from cvae_utils.evaluation.traits import effects, most_used, seems_to_change, traits

__all__ = [
    "COMPARED",
    "OF_HOLES",
    "Diversity",
    "Elbo",
    "Estimate",
    "HoleScores",
    "Nearest",
    "Reference",
    "SampleScores",
    "Share",
    "accuracy",
    "compare",
    "density_and_coverage",
    "drawing_time",
    "effects",
    "elbo",
    "features",
    "frechet_distance",
    "hole_nll",
    "hole_scores",
    "kl_per_dimension",
    "label_faithfulness",
    "label_probe",
    "measure",
    "models_in",
    "most_used",
    "nearest",
    "negative_log_likelihood",
    "neighbourhoods",
    "parameters",
    "posterior_codes",
    "readable",
    "reconstruction_error",
    "recorded_holes",
    "sample_labels",
    "seems_to_change",
    "traits",
    "wilson",
]
