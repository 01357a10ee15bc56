"""Which warnings of a training concern its final model."""

from selfsort.training.collapse import add_warning, of_final_model


def test_warnings_of_early_epochs_do_not_concern_the_final_model() -> None:
    warnings = ["Epoch 1: all look alike.", "cluster_distance was lowered.", "Epoch 12: one class.", "Epoch 2: alike."]
    assert of_final_model(warnings, 12) == ["cluster_distance was lowered.", "Epoch 12: one class."]


def test_the_same_warning_of_many_epochs_is_one():
    warnings: list[str] = []
    new = [
        add_warning(warnings, f"Epoch {n}: all look alike (rank {1 + n / 100:.2f}); try less.") for n in range(2, 52)
    ]
    assert new == [True] + [False] * 49
    assert add_warning(warnings, "Epoch 60: 90% of the pictures fall into one class.")
    assert not add_warning(warnings, "Epoch 61: all look alike (rank 1.10); try less.")
    assert warnings == [
        "Epochs 2 to 61 (51 of them): all look alike (rank 1.10); try less.",
        "Epoch 60: 90% of the pictures fall into one class.",
    ]
    assert of_final_model(warnings, 61) == warnings[:1] and of_final_model(warnings, 62) == []
