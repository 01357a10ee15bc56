"""Which of the warnings of a training hold for the model it ended with."""

from selfsort.training.collapse import of_final_model


def test_what_an_early_epoch_warned_of_does_not_hold_for_the_final_model() -> None:
    warnings = ["Epoch 1: all look alike.", "cluster_distance was lowered.", "Epoch 12: one class.", "Epoch 2: alike."]
    assert of_final_model(warnings, 12) == ["cluster_distance was lowered.", "Epoch 12: one class."]
