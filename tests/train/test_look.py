"""What a model costs, against counts by hand; and `pipeline verify` on a real recipe."""

from __future__ import annotations

import keras
import pytest

from models import cnn, rnn, transformer
from pipeline import config, model_arguments
from pipeline.errors import ConfigError
from pipeline.train.build import call_builder
from pipeline.train.look import read_facts
from pipeline.train.model_figures import of_layers
from tests.conftest import PROJECT, pipeline


def flops(model: keras.Model) -> int:
    return sum(layer.flops for layer in of_layers(model))


@pytest.mark.tf
def test_arithmetic_is_two_for_each_weight_and_place():
    model = cnn.build((8, 8, 1), (0.0,), (1.0,), 10, filters=4, depth=1)
    convolutions = 2 * 64 * 9 * (1 * 4 + 4 * 4)
    assert flops(model) == convolutions + 2 * (4 * 4 * 4) * 16 + 2 * 16 * 10


@pytest.mark.tf
def test_arithmetic_of_recurrent_layers_is_of_every_step_and_direction():
    model = rnn.build(2, sequence_shape=(5, 3), cell="lstm", width=4)
    assert flops(model) == 2 * 5 * 2 * (3 * 16 + 4 * 16) + 2 * 8 * 2


@pytest.mark.tf
def test_arithmetic_of_attention_is_projections_and_scores():
    model = transformer.build(2, sequence_shape=(6, 3), width=8, depth=1, heads=2, expansion=2.0)
    attention = 2 * 6 * 4 * 64 + 4 * 6**2 * 8
    assert flops(model) == 2 * 6 * 3 * 8 + attention + 2 * 2 * 6 * 8 * 16 + 2 * 8 * 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("num_outputs", "expected NAME=VALUE"),
        ("num_output=3", "Did you mean 'num_outputs'"),
        ("num_outputs=many", "expected a number or a list"),
    ],
)
def test_facts_of_a_command_line_are_checked(text, says):
    with pytest.raises(ConfigError, match=says):
        read_facts([text])


def test_facts_of_a_command_line_are_numbers_and_lists():
    assert read_facts(["num_outputs=10", "image_shape=[28,28,1]"]) == {"num_outputs": 10, "image_shape": [28, 28, 1]}


@pytest.mark.tf
@pytest.mark.parametrize(("recipe", "fact"), [("digits", "image_shape"), ("tumours", "num_features")])
def test_a_model_of_data_that_is_not_prepared_yet_asks_for_prepare_and_names_the_facts(recipe, fact):
    with pytest.raises(ConfigError, match=rf"not known before the data is prepared\. Run `pipeline prepare .*--fact {fact}="):
        call_builder(config.load(PROJECT / "conf" / f"{recipe}.yaml"), {})


def test_every_model_is_listed_with_what_it_takes():
    listed = pipeline("models", root=PROJECT)
    assert listed.code == 0
    for name in model_arguments.available():
        assert f"\n{name}  " in "\n" + listed.out
    assert "sequence_length=" not in listed.out and "takes    image_shape" in listed.out


@pytest.mark.e2e
def test_a_model_is_shown_before_and_after_its_data_is_prepared(digits_run, tmp_path):
    unknown = pipeline("model", "show", digits_run.path, root=tmp_path)
    assert unknown.code == 2 and "--fact num_outputs=" in unknown.err
    said = pipeline("model", "show", digits_run.path, "--fact", "num_outputs=10", root=tmp_path)
    known = pipeline("model", "show", digits_run.path, root=digits_run.root)
    assert known.code == 0, known.err
    assert said.out == known.out != ""
    assert "parameters   " in known.out and "FLOPs a row forward" in known.out and "MB on a rank of 32 rows" in known.out


@pytest.mark.e2e
@pytest.mark.slow
def test_two_ranks_are_verified_against_one_on_a_users_recipe(iris_run):
    found = pipeline("verify", iris_run.path, "--ranks", "2", root=iris_run.root)
    assert found.code == 0, found.err
    assert "2 ranks against 1" in found.out and "epoch 1 val_loss" in found.out and "differs" not in found.out


@pytest.mark.e2e
@pytest.mark.slow
def test_a_model_that_cannot_be_exact_is_found_by_verify(iris_run, tmp_path):
    (tmp_path / "noisy.py").write_text(
        "import keras\n\n\ndef net(num_features: int, num_outputs: int) -> keras.Model:\n"
        "    row = keras.Input((num_features,))\n    noisy = keras.layers.GaussianNoise(0.5)(row)\n"
        "    return keras.Model(row, keras.layers.Dense(num_outputs)(noisy))\n"
    )
    recipe = tmp_path / "iris.yaml"
    recipe.write_text(iris_run.path.read_text())
    overrides = ("model={name: 'noisy:net'}",)
    run = iris_run.run
    from pipeline import config
    from pipeline.paths import Run, run_id

    mine = Run(tmp_path / "runs", run.recipe, run_id(config.load(recipe, overrides).digest, None))
    mine.folder.mkdir(parents=True)
    mine.stage("prepare").symlink_to(run.stage("prepare"))
    found = pipeline("verify", recipe, "--set", overrides[0], root=tmp_path / "runs")
    assert found.code == 3, found.out + found.err
    assert "differs" in found.out and "draw random numbers, so ranks differ by them: gaussian_noise" in found.out
