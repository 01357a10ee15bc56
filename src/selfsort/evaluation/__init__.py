"""How good clusters and embeddings are: clustering metrics, the collapse gauge, and probes."""

from selfsort.evaluation.metrics import (
    ClassScore,
    ClassUse,
    ClusteringScores,
    class_use,
    clustering_scores,
    effective_rank,
    silhouette,
)
from selfsort.evaluation.probes import (
    FewShotResult,
    ProbeKind,
    ProbeResult,
    SVMLabels,
    few_shot,
    probe,
    stratified_split,
    svm_labels,
)

__all__ = [
    "ClassScore",
    "ClassUse",
    "ClusteringScores",
    "FewShotResult",
    "ProbeKind",
    "ProbeResult",
    "SVMLabels",
    "class_use",
    "clustering_scores",
    "effective_rank",
    "few_shot",
    "probe",
    "silhouette",
    "stratified_split",
    "svm_labels",
]
