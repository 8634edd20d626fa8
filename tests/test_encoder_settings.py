"""Settings of the encoder on the command line of `pretrain`: read, refused, saved, and resumed."""

import dataclasses

import pytest
from conftest import SETTINGS

from ecgjax.classifier import load
from ecgjax.encoders import ENCODERS
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.errors import InputError
from ecgjax.launch import pretrain as pretrain_command
from ecgjax.train.checkpoint import find_checkpoint, read_config
from ecgjax.workflows.encoder_settings import configured_encoder
from ecgjax.workflows.pretrain import Pretraining, pretrain, saved_config


def test_settings_are_read_from_words_and_from_json():
    assert configured_encoder("compact_resnet", ()) is ENCODERS["compact_resnet"]
    expected = LeadBranches(widths=(8, 16), shared=True)
    for given in (("widths=[8, 16]", "shared=true"), ('{"widths": [8, 16], "shared": true}',)):
        assert configured_encoder("lead_branches", given) == expected
    assert configured_encoder("net1d", ("ratio=1",)) == ENCODERS["net1d"].clone(ratio=1.0)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("depth=[1]", r"depth: is unknown; lead_branches has widths=\[16, 32, 64\], kernel=5, sha"),
        ("dtype=1", "dtype: is unknown"),
        ("widths", "widths: cannot be read; give KEY=VALUE"),
        ("widths=16,32", "widths=16,32: cannot be read"),
        ("widths=16", r"widths=16: of another type than its default \[16, 32, 64\]"),
        ("widths=[]", r"widths=\[\]: of another type"),
        ("widths=[1.5]", "widths=1.5: of another type than its default 16"),
        ("kernel=true", "kernel=true: of another type than its default 5"),
        ('{"kernel": "5"}', 'kernel="5": of another type'),
        ("widths=[0]", r"widths=\[0\]: .*; give other values"),
        ("widths=[-3]", r"widths=\[-3\]: .*; give other values"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(word, message):
    with pytest.raises(InputError, match=f"--encoder-settings {message}") as error:
        Pretraining(encoder="lead_branches", encoder_settings=(word,))
    assert "\n" not in str(error.value)


def test_a_setting_is_given_once():
    with pytest.raises(InputError, match="kernel: is given twice"):
        configured_encoder("lead_branches", ("kernel=3", '{"kernel": 7}'))


def test_the_config_is_that_of_an_encoder_with_these_settings(mixture):
    """A run that began without the option resumes: its config has no new entry."""
    config = saved_config(SETTINGS, mixture)
    assert "encoder_settings" not in config["pretraining"]
    changed = dataclasses.replace(SETTINGS, encoder_settings=("kernel=3",))
    entry = {**config["encoder"], "kernel": 3}
    assert saved_config(changed, mixture) == {**config, "encoder": entry}


@pytest.mark.usefixtures("tiny_encoders")
def test_a_checkpoint_holds_its_encoder(mixture, tmp_path):
    settings = dataclasses.replace(SETTINGS, num_steps=1, encoder_settings=("widths=[4]",))
    pretrain(settings, mixture, tmp_path, save_every=1, log_every=1)
    assert read_config(find_checkpoint(tmp_path))["encoder"]["widths"] == [4]
    assert load(tmp_path).module == CompactResnet(widths=(4,))
    refused = dataclasses.replace(settings, init=str(tmp_path))
    with pytest.raises(InputError, match=r"widths=\[4\]: --init brings an encoder with its own"):
        pretrain(refused, mixture, tmp_path / "other", save_every=1, log_every=1)


def test_the_command_names_the_settings(command, prepared):
    options = ["--data", prepared, "--encoder-settings", "width=[4]"]
    status, _, error = command(pretrain_command, *options)
    assert status == 2 and "has widths=" in error and "Traceback" not in error
