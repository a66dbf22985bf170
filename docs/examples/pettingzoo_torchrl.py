"""PPO of TorchRL on two-timescale: users, stations and the centre learn at once, each class with its own. Explained in docs/adapters.md.

Needs TorchRL. Run it: python docs/examples/pettingzoo_torchrl.py
"""

import torch
from gymnasium.spaces import Box
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule, TensorDictSequential
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import MultiAgentMLP, ProbabilisticActor, TanhNormal
from torchrl.objectives import ClipPPOLoss, ValueEstimators

import edgetwin as et
from edgetwin.adapters.pettingzoo import parallel_env
from edgetwin.problem import Policy

SMALL = {"users.count": 6, "sites.count": 3, "servers.count": 3}


class Choices(torch.distributions.Independent):
    """A choice per head, each its own."""

    def __init__(self, logits):
        super().__init__(torch.distributions.Categorical(logits=logits), 1)


def network(env, agents, outputs):
    """One network for all agents of a class, each sees its own observation."""
    (size,) = env.observation_space(agents[0]).shape
    return MultiAgentMLP(size, outputs, len(agents), centralized=False, share_params=True, depth=2, num_cells=64)


def actor(env, group, agents):
    """Numbers from a normal through tanh, in their limits; choices from a softmax per head."""
    space = env.action_space(agents[0])
    if isinstance(space, Box):
        made = {"distribution_class": TanhNormal, "distribution_kwargs": {"low": space.low.min(), "high": space.high.max()}}
        keys, net = ["loc", "scale"], [network(env, agents, 2 * space.shape[0]), NormalParamExtractor()]
    else:
        made, heads = {"distribution_class": Choices}, (len(space.nvec), int(space.nvec[0]))
        keys, net = ["logits"], [network(env, agents, heads[0] * heads[1]), torch.nn.Unflatten(-1, heads)]
    keys = [(group, key) for key in keys]
    module = TensorDictModule(torch.nn.Sequential(*net), [(group, "observation")], keys)
    said = {"return_log_prob": True, "log_prob_key": (group, "log_prob")}
    return ProbabilisticActor(module, keys, [(group, "action")], spec=env.full_action_spec[group, "action"], **made, **said)


def learner(env, group, agents):
    """A class's actor, its loss and the optimiser of both networks. What is decided in a slot pays in that slot: no discounting."""
    policy = actor(env, group, agents)
    critic = TensorDictModule(network(env, agents, 1), [(group, "observation")], [(group, "value")])
    loss = ClipPPOLoss(policy, critic, entropy_coeff=0.001, normalize_advantage=True, normalize_advantage_exclude_dims=(-2,))
    names = ("action", "value", "reward", "done", "terminated", "advantage", "value_target")
    loss.set_keys(sample_log_prob=(group, "log_prob"), **{name: (group, name) for name in names})
    loss.make_value_estimator(ValueEstimators.GAE, gamma=0.0, lmbda=0.95)
    return policy, loss, torch.optim.Adam(loss.parameters(), lr=1e-3)


def train(task, rounds=10, networks=2, slots=200, seed=0):
    """All classes' actors after `rounds` of PPO, each on new networks that no comparison shows."""
    torch.manual_seed(seed)
    env = PettingZooWrapper(parallel_env(task, seed=seed))
    learners = {group: learner(env, group, agents) for group, agents in env.group_map.items()}
    policy = TensorDictSequential(*(actor for actor, _, _ in learners.values()))
    for _ in range(rounds):
        with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
            data = torch.stack([env.rollout(slots, policy) for _ in range(networks)])
        for _, loss, optimiser in learners.values():
            with torch.no_grad():
                loss.value_estimator(data, params=loss.critic_network_params, target_params=loss.target_critic_network_params)
            for _ in range(10):
                for part in data.reshape(-1)[torch.randperm(data.numel())].split(100):
                    terms = loss(part)
                    optimiser.zero_grad()
                    (terms["loss_objective"] + terms["loss_critic"] + terms["loss_entropy"]).backward()
                    torch.nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
                    optimiser.step()
    return policy


def as_policy(task, learned, name="ppo"):
    """What was learned, as a policy of edgetwin: it stands in comparisons."""

    def act(carry, view, key):
        seen = {group: {"observation": torch.tensor(getattr(view.observation, group))} for group in task.spec.agents}
        with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
            told = learned(TensorDict(seen))
        return carry, task.action(**{group: told[group, "action"].numpy() for group in task.spec.agents})

    return Policy(name=name, task=task, act=act, runs_on="host")


def main():
    torch.set_num_threads(1)
    task = et.task("two-timescale", et.scenario("two-timescale/physical", SMALL))
    for policy in (as_policy(task, train(task, rounds=0), "untrained"), as_policy(task, train(task))):
        table = et.compare(task, [policy, "full-power+nearest", "inversion[snr=5]+nearest"], episodes=4, slots=200)
        for name, row in table.rows.items():
            energy, failed, reward = (
                row.metrics[metric].mean for metric in ("energy_mj_per_slot", "failure_per_request", "reward")
            )
            print(f"{name:24} {energy:.3f} mJ per user and slot, {failed:6.1%} of requests fail, reward {reward:.2f}")


if __name__ == "__main__":
    main()
