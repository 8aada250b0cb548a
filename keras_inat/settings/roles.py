"""The role of each setting. Everything that asks "does this setting matter here?" is answered by a set of roles."""

from collections.abc import Set
from enum import Enum, auto


class Role(Enum):
    """The purpose of a setting."""

    OUTCOME = auto()  # the network, its training and its pixels
    TEACHER = auto()  # the trained model that the network learns from
    LENGTH = auto()  # the length of a full training; the length of a trial is `sweep.epochs`
    DATA = auto()  # the split of the images and the treatment of duplicates
    SELECTION = auto()  # the score that selects epochs, trials and runs
    SEED = auto()  # the random numbers of a run
    NAME = auto()  # the name of a run or sweep
    SEARCH = auto()  # the way that a sweep chooses and stops its trials
    PLACE = auto()  # the place of files on this machine
    EXECUTION = auto()  # the amount of work and the resources for it
    DISPLAY = auto()  # the output beside the result


# Two runs with equal settings of these roles, on the same images, are the same run.
RUN: Set[Role] = {Role.OUTCOME, Role.TEACHER, Role.LENGTH, Role.DATA, Role.SELECTION, Role.SEED, Role.NAME}
# Runs of one group differ in the seed only.
GROUP: Set[Role] = RUN - {Role.SEED}
# The scores of two trials can be compared if these are equal.
SWEEP: Set[Role] = {Role.OUTCOME, Role.DATA, Role.SELECTION, Role.SEED, Role.NAME, Role.SEARCH}
# A sweep may search these. The others would make scores incomparable, or select a lucky split or seed.
SEARCHABLE: Set[Role] = {Role.OUTCOME}
# `best.yaml` repeats these, so that `train-best` needs no other settings.
BEST: Set[Role] = RUN | {Role.PLACE}
# W&B, MLflow and TensorBoard get these.
TRACKED: Set[Role] = RUN
