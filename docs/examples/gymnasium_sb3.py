"""PPO of Stable-Baselines3 on an edgetwin task, beside a rule on the same episodes. Explained in docs/adapters.md.

Needs Stable-Baselines3. Run it: python docs/examples/gymnasium_sb3.py
"""

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

import edgetwin as et
from edgetwin.adapters.gymnasium import GymnasiumVectorEnv
from edgetwin.problem import Policy


class Networks(VecEnv):
    """Many networks of a task in one program, as Stable-Baselines3 wants them."""

    def __init__(self, task, count, seed=0):
        self.batch = GymnasiumVectorEnv(task, count, seed)
        super().__init__(count, self.batch.single_observation_space, self.batch.single_action_space)

    def reset(self):
        observations, _ = self.batch.reset()
        return observations

    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        observations, rewards, terminated, truncated, info = self.batch.step(self.actions)
        ended, told = terminated | truncated, [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(ended):
            told[index] = {"terminal_observation": info["final_obs"][index], "TimeLimit.truncated": not terminated[index]}
        return observations, rewards, ended, told

    def seed(self, seed=None):
        self.batch.reset(seed=seed)
        return [seed] * self.num_envs

    def close(self):
        self.batch.close()

    def get_attr(self, attr_name, indices=None):
        return [getattr(self.batch, attr_name)] * len(self._get_indices(indices))

    def set_attr(self, attr_name, value, indices=None):
        setattr(self.batch, attr_name, value)

    def env_method(self, method_name, *method_args, indices=None, **method_kwargs):
        return [getattr(self.batch, method_name)(*method_args, **method_kwargs)]

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * len(self._get_indices(indices))


def train(task, slots=150_000, seed=0):
    """PPO after `slots` slots on networks that no comparison shows."""
    model = PPO(
        "MlpPolicy",
        Networks(task, 64),
        n_steps=60,
        batch_size=480,
        n_epochs=10,
        gamma=0.99,
        gae_lambda=0.95,
        learning_rate=lambda left: 1e-3 * left,
        policy_kwargs={"net_arch": [64, 64]},
        seed=seed,
        device="cpu",
    )
    return model.learn(slots)


def as_policy(task, model, name="ppo"):
    """What was learned, as a policy of edgetwin: it stands in comparisons."""
    (agents,) = task.spec.agents

    def act(carry, view, key):
        action, _ = model.predict(getattr(view.observation, agents), deterministic=True)
        return carry, task.action(**{agents: action.reshape(1, -1)})

    return Policy(name=name, task=task, act=act, runs_on="host")


def main():
    task = et.task("network-sync")
    ppo = as_policy(task, train(task))
    table = et.compare(task, [ppo, "index", "never", "always"], episodes=64)
    for name, row in table.rows.items():
        cost = row.metrics["cost"]
        print(f"{name:8} cost {cost.mean:.3f} [{cost.ci95[0]:.3f}, {cost.ci95[1]:.3f}]")


if __name__ == "__main__":
    main()
