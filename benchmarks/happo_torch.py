"""Beta-HAPPO (Liu et al., Algorithm 1, Table I) in plain PyTorch: a readable yardstick for the speed of edgetwin's own, which is JAX.

python benchmarks/happo_torch.py --critics reward --environments 1 --updates 3

Actors of a class act together, their parameters stacked. Updates are sequential, one agent after another in an order drawn for each epoch,
one step of Adam each; M of (30), the product of the ratios of those before, is kept as a sum of logarithms. Where the paper is silent:
M takes the ratio after the agent's own step (HAPPO's, Kuba et al.), critics fit the returns of (31), and M starts at 1 in each epoch.
An agent's log-probabilities are computed once per step, right after it: M needs them then, the agent's next step differentiates them.
"""

import argparse
import json
import resource
import statistics
import time
from contextlib import contextmanager
from typing import NamedTuple

import torch
from happo_torch_world import Movement, Noise, Observation, Scenes, Twins, World
from torch import Tensor
from torch.nn.functional import linear, softplus

HIDDEN = (128, 64)
DISCOUNT, TRACE, CLIP, ENTROPY, LEARNING_RATE = 0.9, 0.95, 0.2, 0.01, 1e-4
EPOCHS, BLOCK_SLOTS, EPISODES = 25, 5000, 150
EDGE = 1e-6
"""Actions keep this distance from 0 and 1, where (35) is 0 or infinite."""


# -- networks


def mlp(inputs, outputs, hidden=HIDDEN):
    """Weights (outputs, inputs) and biases (outputs,) of each layer in turn, uniform in ±1/√inputs."""
    layers = zip((inputs, *hidden), (*hidden, outputs), strict=True)
    shapes = [(wide, shape) for wide, out in layers for shape in ((out, wide), (out,))]
    return [torch.empty(shape).uniform_(-(wide**-0.5), wide**-0.5).requires_grad_() for wide, shape in shapes]


def forward(parameters, inputs, layer=linear):
    """ReLU between layers. inputs: (batch, inputs); of a stack (networks, batch, inputs), with `layer` = `linear_stack`."""
    *hidden, last = zip(parameters[::2], parameters[1::2], strict=True)
    for weight, bias in hidden:
        inputs = layer(inputs, weight, bias).relu_()
    return layer(inputs, *last)


def stack(networks):
    """The parameters of several equal networks as `linear_stack` takes them: (networks, inputs, outputs), (networks, 1, outputs)."""
    return [torch.stack([part.T if part.dim() == 2 else part[None] for part in layer]) for layer in zip(*networks, strict=True)]


def linear_stack(inputs, weights, biases):
    return torch.baddbmm(biases, inputs, weights)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)


def descend(optimiser, loss):
    """One step of Adam (33), (34)."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


# -- policies


class BetaTerms(torch.autograd.Function):
    """Log-probability and entropy of Beta(a, b) (35), each summed over the last axis, with their gradients in a and b.

    log_x, log_rest: ln x and ln(1−x), the same in all epochs. In one pass, since both need ln Γ and its derivatives at a, b and a + b:
    three to four times as fast as torch.distributions.Beta.
    """

    @staticmethod
    def forward(context, log_x, log_rest, a, b):
        total = a + b
        log_beta = a.lgamma() + b.lgamma() - total.lgamma()
        (psi_a, slope_a), (psi_b, slope_b), (psi, slope) = digammas(a), digammas(b), digammas(total)
        log_prob = (a - 1) * log_x + (b - 1) * log_rest - log_beta
        entropy = log_beta - (a - 1) * psi_a - (b - 1) * psi_b + (total - 2) * psi
        common = (total - 2) * slope
        context.save_for_backward(
            log_x - psi_a + psi, log_rest - psi_b + psi, common - (a - 1) * slope_a, common - (b - 1) * slope_b
        )
        return log_prob.sum(dim=-1), entropy.sum(dim=-1)

    @staticmethod
    def backward(context, of_log_prob, of_entropy):
        prob_a, prob_b, entropy_a, entropy_b = context.saved_tensors
        first, second = of_log_prob[..., None], of_entropy[..., None]
        return None, None, first * prob_a + second * entropy_a, first * prob_b + second * entropy_b


def digammas(x):
    """ψ(x) and ψ'(x) for x ≥ 1, to 1e-6: recurrence to x + 3, then the asymptotic series."""
    first, second, third, last = x.reciprocal(), (x + 1).reciprocal(), (x + 2).reciprocal(), (x + 3).reciprocal()
    square = last * last
    series = square * (1 / 12 - square * (1 / 120 - square / 252))
    psi = (x + 3).log() - last / 2 - series - first - second - third
    slope = last + square / 2 + square * last * (1 / 6 - square * (1 / 30 - square / 42))
    return psi, slope + first * first + second * second + third * third


def beta_parameters(outputs):
    """ϑ and χ, both 1 + softplus."""
    return (1 + softplus(outputs)).chunk(2, dim=-1)


def beta_sample(*outputs):
    """Draws for several classes at once: of independent gamma variables, X/(X+Y) is Beta."""
    parameters = [beta_parameters(output) for output in outputs]
    drawn = torch._standard_gamma(torch.cat([part.flatten() for pair in parameters for part in pair]))
    drawn = drawn.split([part.numel() for pair in parameters for part in pair])
    pairs = zip(drawn[::2], drawn[1::2], parameters, strict=True)
    return [(x / (x + y)).clamp(EDGE, 1 - EDGE).view(shape[0].shape) for x, y, shape in pairs]


def servers_by_user(outputs, users):
    """The centre's logits, (samples, servers, users): a softmax over an axis that is not the last is several times faster here."""
    return outputs.view(len(outputs), -1, users)


def softmax_sample(logits):
    """A server for each user: the largest logit after Gumbel noise. logits: (samples, servers, users)."""
    return (logits - (-torch.rand_like(logits).log()).log()).argmax(dim=1)


class Actor(NamedTuple):
    """An agent's network, its optimiser, and how its outputs and what it did make log-probabilities and entropies: "beta" or "softmax"."""

    parameters: list
    optimiser: torch.optim.Adam
    head: str

    def terms(self, seen, did):
        """Log-probability and entropy of a block's actions, (samples,) each."""
        outputs = forward(self.parameters, seen)
        if self.head == "beta":
            return BetaTerms.apply(*did, *beta_parameters(outputs))
        log_prob = servers_by_user(outputs, did.shape[-1]).log_softmax(dim=-2)
        entropy = -(log_prob * log_prob.exp()).sum(dim=(1, 2))
        return log_prob.gather(1, did[:, None]).sum(dim=(1, 2)), entropy


def actor(inputs, outputs, head):
    parameters = mlp(inputs, outputs)
    return Actor(parameters, adam(parameters), head)


# -- advantages


def gae(rewards, values):
    """Advantages and returns (31) of a block that is cut off, not over, at its end: A[n] = Σ_l (γϱ)^l δ[n+l].

    Twice as many terms of the sum at each turn. rewards: (slots, …); values: (slots + 1, …). Returns two arrays like rewards.
    """
    advantages = rewards + DISCOUNT * values[1:] - values[:-1]
    reach = 1
    while reach < len(rewards):
        advantages[:-reach] += (DISCOUNT * TRACE) ** reach * advantages[reach:].clone()
        reach *= 2
    return advantages, advantages + values[:-1]


# -- Algorithm 1


class Held(NamedTuple):
    """Environments between two blocks: movement, the draws of the slot they are in, what was decided, and that slot's number."""

    movement: Movement
    noise: Noise
    twins: Twins
    slot: int


class Block(NamedTuple):
    """What S slots of E environments brought. observation has a slot more, what followed. rewards: (S, E, 2); others agents first."""

    observation: Observation
    users: Tensor
    stations: Tensor
    centre: Tensor
    energy_j: Tensor
    failed: Tensor
    rewards: Tensor


@contextmanager
def one_thread():
    """For what is too small to be shared: threads that wait for each other made rollouts slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class BetaHappo:
    """Algorithm 1 on `environments` copies of a world, with a critic per "reward" or per "agent"."""

    def __init__(self, world, critics, environments):
        users, sites = world.users, world.sites
        sizes = world.sizes
        self.world, self.environments = world, environments
        self.users = [actor(sizes.users, 2, "beta") for _ in range(users)]
        self.stations = [actor(sizes.stations, 4 * users, "beta") for _ in range(sites)]
        self.centre = [actor(sizes.centre, users * sites, "softmax")]
        self.actors = [*self.users, *self.stations, *self.centre]
        reward_of = [0] * (users + sites) + [1]
        self.shared = critics == "reward"
        self.critic_of = reward_of if self.shared else list(range(len(self.actors)))
        self.critic_paid = [0, 1] if self.shared else reward_of
        self.critics = [mlp(sizes.state, 1) for _ in self.critic_paid]
        self.critic_optimisers = [adam(critic) for critic in self.critics]
        self.held = self.begin()

    def begin(self):
        """Fresh episodes."""
        movement = self.world.begin(self.world.draw_start(self.environments))
        noise = self.world.draw_noise(1, self.environments)
        return Held(movement, noise, self.world.deploy(movement.position_m), 0)

    @one_thread()
    @torch.no_grad()
    def rollout(self, slots):
        """Lines 3-16: a block of experience; episodes that are over begin anew."""
        world, environments = self.world, self.environments
        if self.held.slot == world.slots:
            self.held = self.begin()
        movement, noise, twins, first = self.held
        noise = Noise(*map(torch.cat, zip(noise, world.draw_noise(slots, environments), strict=True)))
        movement, scenes = world.ahead(movement, noise)
        seen = world.blank(scenes, first)
        networks = [stack([agent.parameters for agent in agents]) for agents in (self.users, self.stations, self.centre)]
        block = Block(
            seen,
            torch.empty(world.users, slots, environments, 1),
            torch.empty(world.sites, slots, environments, 2 * world.users),
            torch.empty(1, slots, environments, world.users, dtype=torch.long),
            torch.empty(slots, environments, world.users),
            torch.empty(slots, environments, world.users),
            torch.empty(slots, environments, 2),
        )
        for index, scene in enumerate(map(Scenes, *(part[:-1].unbind() for part in scenes))):
            slot = first + index
            world.see(seen, index, slot, twins)
            views = zip(networks, seen[:3], strict=True)
            user_outputs, station_outputs, logits = (forward(network, part[:, index], linear_stack) for network, part in views)
            power, scores = beta_sample(user_outputs, station_outputs)
            choice = softmax_sample(servers_by_user(logits[0], world.users))
            twins, happened = world.step(slot, scene, twins, power[..., 0].T, scores.transpose(0, 1), choice)
            block.users[:, index], block.stations[:, index], block.centre[0, index] = power, scores, choice
            for kept, value in zip(block[4:], happened, strict=True):
                kept[index] = value
        world.see(seen, slots, first + slots, twins)
        self.held = Held(movement, Noise(*(part[-1:] for part in noise)), twins, first + slots)
        return block

    def update(self, block, epochs):
        """Lines 17-26. Returns the seconds that each epoch took."""
        slots = len(block.rewards)
        samples = slots * self.environments
        state = block.observation.state[:slots].view(samples, -1)
        advantages, returns = self.advantages(block)
        seen = [part[:slots].view(samples, -1) for parts in block.observation[:3] for part in parts]
        did = [part.view(samples, -1) for parts in (block.users, block.stations, block.centre) for part in parts]
        did = [(part.log(), (-part).log1p()) if part.is_floating_point() else part for part in did]

        terms = [agent.terms(*inputs) for agent, *inputs in zip(self.actors, seen, did, strict=True)]
        old = [log_prob.detach() for log_prob, _ in terms]
        took = []
        for _ in range(epochs):
            start = time.perf_counter()
            if self.shared:
                for critic in range(len(self.critics)):
                    self.fit(critic, state, returns)
            log_m = torch.zeros(samples)
            for u in torch.randperm(len(self.actors)).tolist():
                if not self.shared:
                    self.fit(u, state, returns)
                log_prob, entropy = terms[u]
                ratio = (log_prob - old[u]).exp()
                weight = log_m.exp() * advantages[:, self.critic_of[u]]
                surrogate = torch.min(ratio * weight, ratio.clamp(1 - CLIP, 1 + CLIP) * weight)
                descend(self.actors[u].optimiser, -(surrogate + ENTROPY * entropy).mean())  # (30)
                terms[u] = self.actors[u].terms(seen[u], did[u])
                log_m += terms[u][0].detach() - old[u]
            took.append(time.perf_counter() - start)
        return took

    def fit(self, critic, state, returns):
        """One step of a critic (34)."""
        error = forward(self.critics[critic], state)[:, 0] - returns[:, critic]
        descend(self.critic_optimisers[critic], 0.5 * error.square().mean())

    @torch.no_grad()
    def advantages(self, block):
        """Line 17: advantages and returns by critic, (samples, critics)."""
        values = torch.cat([forward(critic, block.observation.state.flatten(0, 1)) for critic in self.critics], dim=1)
        values = values.view(len(block.rewards) + 1, self.environments, len(self.critics))
        return [part.flatten(0, 1) for part in gae(block.rewards[..., self.critic_paid], values)]


# -- measurement


def measure(critics, environments, updates, seed=0, *, epochs=EPOCHS, slots=BLOCK_SLOTS, threads=None):
    """Seconds of `updates` rounds of rollout and update, and what the paper's schedule would take at their median.

    critics: "reward" (2) or "agent" (36). environments: how many share a round's `slots`. With fewer epochs or slots than the paper's 25 and
    5000 the schedule is scaled up from what was measured, and "scaled" is true. Returns plain data.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    world = World()
    if slots % environments or world.slots % (slots // environments):
        raise ValueError(
            f"{slots} slots in {environments} environments: each environment's share must divide an episode of {world.slots}"
        )
    learner = BetaHappo(world, critics, environments)
    rounds = []
    for _ in range(updates):
        start = time.perf_counter()
        block = learner.rollout(slots // environments)
        between = time.perf_counter()
        epoch_s = statistics.mean(learner.update(block, epochs))
        rollout_s, update_s = between - start, time.perf_counter() - between
        brought = block.rewards.mean(dim=(0, 1)).tolist(), 1e3 * block.energy_j.mean().item(), block.failed.mean().item()
        rounds.append((rollout_s, update_s, epoch_s, *brought))
    rollout_s, update_s, epoch_s, reward, energy_mj, failed = map(list, zip(*rounds, strict=True))
    full_s = [drive + learn + (EPOCHS - epochs) * epoch for drive, learn, epoch in zip(rollout_s, update_s, epoch_s, strict=True)]
    return {
        "critics": critics,
        "environments": environments,
        "threads": torch.get_num_threads(),
        "slots": slots,
        "epochs": epochs,
        "rollout_s": rollout_s,
        "update_s": update_s,
        "epoch_s": epoch_s,
        "scaled": (slots, epochs) != (BLOCK_SLOTS, EPOCHS),
        "schedule_min": EPISODES * statistics.median(full_s) * BLOCK_SLOTS / slots / 60,
        "reward": reward,
        "energy_mj_per_slot": energy_mj,
        "failure_per_slot": failed,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "torch": torch.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description="Speed of Beta-HAPPO in PyTorch, as JSON.")
    parser.add_argument(
        "--critics", choices=("reward", "agent"), default="reward", help="one critic per reward, or one per agent"
    )
    parser.add_argument("--environments", type=int, default=1, help="how many share the slots of an update")
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="fewer than 25: the schedule is scaled up")
    parser.add_argument("--slots", type=int, default=BLOCK_SLOTS, help="per update, all environments together; fewer: likewise")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(measure(**vars(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
