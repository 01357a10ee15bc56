"""Measure clusters, names and embeddings, as functions of arrays and labels; only probes learn here."""

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
