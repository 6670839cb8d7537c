"""Prints what `montauk off-policy` says of examples/open-bandit beside obp, the library of that data set's authors.

Usage: python bench/off_policy.py MONTAUK PROJECT, with extract, copy and build done in a copy of the example.
Needs numpy, pandas, and obp with what it imports (6 GB, nearly all of it torch, in an environment of its own):
  pip install numpy pandas scikit-learn scipy pyyaml tqdm matplotlib seaborn pyieoe && pip install --no-deps obp==0.4.1
obp is given the rows of the files, the policy's table and the same cross-fitted model, made here once more.
"""

import json
import pathlib
import subprocess
import sys

import numpy
import pandas
from obp import ope

TAU = 4.0
ESTIMATORS = {
    "ips": ope.InverseProbabilityWeighting(),
    "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
    "direct_method": ope.DirectMethod(),
    "doubly_robust": ope.DoublyRobust(),
    "self_normalized_doubly_robust": ope.SelfNormalizedDoublyRobust(),
    "switch_doubly_robust": ope.SwitchDoublyRobust(tau=TAU),
}


def fnv(text):
    """FNV-1a over UTF-16 code units; the names hashed here are ASCII."""
    value = 0x811C9DC5
    for letter in text:
        value = (value ^ ord(letter)) * 0x01000193 % 2 ** 32
    return value


def fold(unit):
    return int(fnv(str(fnv("cross-fit" + unit))) % 10000 / 10000 * 5)


def by_obp(project, campaign):
    log = pandas.read_csv(project / f"data/random-{campaign}.csv.gz")
    own = pandas.read_csv(project / f"data/bts-{campaign}.csv.gz")
    actions = max(log.item_id.max(), own.item_id.max()) + 1
    policy = numpy.zeros((3, actions))
    for place in (1, 2, 3):
        shares = own[own.position == place].item_id.value_counts(normalize=True)
        policy[place - 1, shares.index] = shares.values
    folds = numpy.array([fold(f"{campaign}/random/{row}") for row in log.row])
    places, items, clicks = (log.position - 1).to_numpy(), log.item_id.to_numpy(), log.click.to_numpy()
    # rows × actions × places, as obp has it: only the row's own place is looked at.
    modelled = numpy.zeros((len(log), actions, 3))
    for number in range(5):
        rest = folds != number
        sums, rows = numpy.zeros((actions, 3)), numpy.zeros((actions, 3))
        numpy.add.at(sums, (items[rest], places[rest]), clicks[rest])
        numpy.add.at(rows, (items[rest], places[rest]), 1)
        modelled[folds == number] = sums / rows
    shape = (len(log), 3, actions)
    chances = numpy.ascontiguousarray(numpy.transpose(numpy.broadcast_to(policy, shape), (0, 2, 1)))
    given = {"reward": clicks, "action": items, "position": places, "pscore": log.propensity_score.to_numpy(),
             "action_dist": chances, "estimated_rewards_by_reg_model": modelled}
    return {name: estimator.estimate_policy_value(**given) for name, estimator in ESTIMATORS.items()}


def main():
    montauk, project = sys.argv[1], pathlib.Path(sys.argv[2])
    done = subprocess.run([montauk, "-C", project, "off-policy", "--json"], capture_output=True, text=True, check=True)
    print(f"{'campaign, estimator':<40}{'Montauk':>14}{'obp 0.4.1':>14}{'difference':>12}")
    for report in json.loads(done.stdout):
        campaign = report["name"].removeprefix("thompson_")
        theirs = by_obp(project, campaign)
        for estimate in report["estimates"]:
            name, ours = estimate["estimator"], estimate["value"]
            print(f"{campaign + ', ' + name:<40}{ours:>14.8f}{theirs[name]:>14.8f}{abs(ours - theirs[name]):>12.1e}")


if __name__ == "__main__":
    main()
