"""The training loop: one step after the other, with a history, previews, backups and an ear for commands."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from elektronn.errors import CheckFailed, ConfigError, StorageError, at
from elektronn.network.device import choose_device
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Batch, Supply
from elektronn.sampling.prefetch import Prefetch
from elektronn.sampling.user_data import UserBatches
from elektronn.training.checkpoint import Backups, keep_diverged
from elektronn.training.control import Listener, Mailbox, Noted, Row, Saved, Started, Stepped, Warned
from elektronn.training.group import ALONE, Group
from elektronn.training.keeping import Keeper
from elektronn.training.losses import Criterion
from elektronn.training.orders import Orders
from elektronn.training.previews import classes_of, planes_of, preview_of, show, show_examples
from elektronn.training.resuming import resume, state_of
from elektronn.training.settings import TrainingSettings
from elektronn.training.statistics import mean_label
from elektronn.training.steering import Steering
from elektronn.training.task import Task
from elektronn.training.update import Update
from elektronn.training.verdict import LOOKS, due_at, early_verdict, monitor_labels

FETCH_EVERY = 20
"""Steps between looks at the loss: on a GPU each look waits for the device."""


class Trainer:
    """Trains a task; see :meth:`run`."""

    def __init__(
        self,
        task: Task,
        settings: TrainingSettings,
        sampling: SamplingSettings,
        backups: Backups,
        mailbox: Mailbox,
        listen: Listener,
        orders: Orders | None = None,
        group: Group = ALONE,
    ) -> None:
        self.task, self.settings, self.sampling = task, settings, sampling
        self.backups, self.mailbox, self.listen = backups, mailbox, listen
        self.orders = orders or Orders()
        self.group = group
        with at("training"):
            self.device = choose_device(group.device(settings.device))
            self.network = task.network.to(self.device)
            self.update = Update(self.network, settings, self.device, group)
        self.criterion = Criterion(settings.loss, self._class_weights())
        with at("training", only=ConfigError):
            self.steering = Steering(settings, sampling, self.network)
        card = {"fingerprint": task.fingerprint, "output": "probabilities" if self.criterion.of_classes else "values"}
        self.keeper = Keeper(backups.folder, settings, card, listen)
        self.step = 0
        self.ended = False
        self.is_sound = True
        self.batch: Batch | None = None
        self.last_mean: float | None = None
        self.history: list[dict[str, float]] = []
        self.warnings: list[str] = []
        self.seconds = 0.0
        # sums since the last row of the history; the loss stays on the device until somebody looks
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.counts = {"steps": 0, "warped": 0, "plain": 0, "shrunk": 0}
        self.wait = 0.0
        self.row_seconds = 0.0

    def _class_weights(self) -> Tensor | None:
        weights, classes = self.settings.loss.class_weights, self.network.document.classes
        if weights is None:
            return None
        if len(weights) != classes and self.settings.loss.kind != "binary":
            raise ConfigError(
                f"training.loss.class_weights: has {len(weights)} numbers for {classes} classes; write one per class"
            )
        return torch.tensor(weights, device=self.device)

    def run(self) -> None:
        """Train from the newest backup of this task, or from the start, to the last step.

        Raises:
            Stopped: a Stop command came; the state is saved.
            CheckFailed: the loss is no longer a number.
        """
        resumed = resume(self)
        self.group.wait()
        self.orders.plan(self)
        count = sum(p.numel() for p in self.network.parameters())
        rows = len(self.history)
        self.listen(Started(self.step, self.settings.steps, resumed, str(self.device), count, rows))
        if not self.history:
            self.record()
        while not self.finished:
            # what keeps something between batches must be asked for them in order, by one thread
            workers = self.sampling.workers if self.task.supply.is_pure else min(self.sampling.workers, 1)
            with Prefetch(self._batch, first=self.step, workers=workers, ahead=self.sampling.prefetch) as batches:
                self._loop(batches)
        self.save(final=True)

    @property
    def has_previews(self) -> bool:
        """Whether a section can be predicted densely and class 1 shown."""
        document = self.network.document
        shown = self.criterion.of_classes and document.is_dense_capable and document.classes > 1
        return shown and (self.task.preview is not None or len(self.task.slabs) > 0)

    @property
    def finished(self) -> bool:
        """All steps are made, the time is over, or somebody ended it."""
        limit = self.settings.max_seconds
        return self.ended or self.step >= self.settings.steps or (limit is not None and self.seconds >= limit)

    def _batch(self, step: int) -> Batch:
        return self.supply_of(step).batch(step)

    def supply_of(self, step: int) -> Supply:
        """The supply with the numbers of the augmentations at a step."""
        if not self.steering.moves_samples:
            return self.task.supply
        return self.task.supply.changed(self.steering.sampling_at(step))

    def _loop(self, batches: Prefetch[Batch]) -> None:
        """Train to the end, or until the batches that were made ahead are no longer those of the plan."""
        saved = time.monotonic()
        while not self.finished:
            if not self._obey():
                return
            self._advance(batches)
            if self.step % self.settings.history_every == 0 or self.finished:
                self.record()
            if self.step == due_at(self.settings.steps):
                self._judge()
            every = self.settings.preview_every
            is_due = self.keeper.preview_due(self.seconds) or (every and self.step % every == 0)
            if is_due and self.has_previews:
                show(self)
            self.keeper.tick(self.network, self.step, self.seconds)
            if time.monotonic() - saved >= self.settings.backup_s:
                self.save()
                saved = time.monotonic()

    def _obey(self) -> bool:
        """Do what is asked for until nobody asks; whether it goes on with the batches that were made ahead."""
        goes_on = True
        while not self.ended and (letters := self.mailbox.drain(self.step)):
            goes_on &= self.orders.carry_out(letters, self)
        return goes_on

    def _advance(self, batches: Prefetch[Batch]) -> None:
        began = time.perf_counter()
        self.batch = batch = batches.take()
        waited = time.perf_counter() - began
        self._prepare()
        loss = self._update(batch)
        self.step += 1
        self.loss_sum += loss
        self.counts["steps"] += 1
        for name in ("warped", "plain", "shrunk"):
            self.counts[name] += getattr(batch, name)
        look = self.step % FETCH_EVERY == 0 or self.finished
        value = float(loss) if look else math.nan
        self.wait += waited
        took = time.perf_counter() - began
        self.seconds += took if self.settings.max_seconds is None else self.group.seconds(took)
        if look:
            self.is_sound = True
            self._check(value)
            elapsed = max(self.seconds - self.row_seconds, 1e-9)
            self.listen(Stepped(self.step, value, self.counts["steps"] / elapsed, self.wait / elapsed))
        if self.step == 1 and (self.settings.preview_every or self.settings.preview_h):
            show_examples(self, batch)

    def _prepare(self) -> None:
        """Put every number that changes with the step in place."""
        self.steering.prepare(self.step)
        if self.steering.loss is not self.settings.loss:
            self.settings = self.settings.model_copy(update={"loss": self.steering.loss})
            self.criterion = Criterion(self.settings.loss, self._class_weights())

    def _update(self, batch: Batch) -> Tensor:
        return self.update.step(batch, self.step, self.criterion, self.steering.optimisers.current)

    def _check(self, loss: float) -> None:
        """See whether the loss is a number. If not, a person may mend that; without one the training ends here.

        Raises:
            CheckFailed: it ends; batch and state are kept to find out why.
        """
        if math.isfinite(loss):
            return
        self.is_sound = False
        text = f"training diverged: the loss is {loss} at step {self.step}"
        if not self.mailbox.alarm(f"{text}; load weights and lower the rate, or kill"):
            raise self._diverged(text)

    def _diverged(self, text: str) -> CheckFailed:
        rate = self._rate()
        where, what = ("", "change training.optimiser")
        if rate is not None:
            where, what = f" (learning rate {rate:g})", "lower training.optimiser.rate"
        kept = keep_diverged(self.backups.folder, state_of(self), self.batch)
        return CheckFailed(
            f"{text}{where}; {what} and start again; the last backup is from before, batch and state are in {kept}"
        )

    def _rate(self) -> float | None:
        """Learning rate of the next update; ``None`` if the optimiser has none."""
        rate = self.steering.plan.values_at(self.step).get("rate")
        return rate if isinstance(rate, float) else None

    def measure(self, source: str) -> tuple[float, float]:
        """Loss and error on the monitor examples of ``train`` or ``valid``; see :class:`~.losses.Criterion`."""
        supply, network = self._watched(source), self.network.eval()
        rounds = -(-self.settings.monitor_examples // self.sampling.batch_size)
        loss = wrong = labelled = 0.0
        with torch.inference_mode(), self.update.autocast():
            for i in range(rounds):
                batch = supply.batch(i)
                scores = network(torch.as_tensor(batch.image).to(self.device))
                labels = self.update.labels(batch, self.criterion)
                missed, count = self.criterion.mistakes(scores, labels)
                loss += float(self.criterion.loss(scores, labels, self.update.extras(batch))) * count
                wrong, labelled = wrong + missed, labelled + count
        return loss / max(labelled, 1), self.criterion.error(wrong, labelled)

    def _watched(self, source: str) -> Supply:
        """Monitor examples; a class of the user's may have a source ``test`` besides."""
        watch = self.task.watch
        if source not in watch and isinstance(watch["train"], UserBatches):
            return replace(watch["train"], source=source)
        return watch[source]

    def loss_of(self, batch: Batch) -> Tensor:
        """Loss of a batch without dropout, with its graph."""
        labels = self.update.labels(batch, self.criterion)
        with self.update.autocast():
            scores = self.network.eval()(torch.as_tensor(batch.image).to(self.device))
            return self.criterion.loss(scores, labels)

    def record(self) -> None:
        """Add a row to the history; its own time does not count as training time."""
        steps = max(self.counts["steps"], 1)
        elapsed = max(self.seconds - self.row_seconds, 1e-9)
        examples = steps * self.sampling.batch_size // self.group.size
        loss = float(self.loss_sum) / steps if self.counts["steps"] else math.nan
        row: dict[str, float] = {"step": self.step, "seconds": round(self.seconds, 3)}
        if self.counts["steps"]:
            self._check(loss)
            row |= {"loss": loss, "steps_per_s": round(steps / elapsed, 2), "data_wait": round(self.wait / elapsed, 4)}
            row |= {"warped": self.counts["warped"] / examples, "warp_misfits": self.counts["plain"] / examples}
            row["warp_shrunk"] = self.counts["shrunk"] / examples
        for source in self.task.watch:
            row[f"{source}_loss"], row[f"{source}_error"] = self.measure(source)
        if self.history:
            row["diff"] = row["train_loss"] - self.history[-1]["train_loss"]
        if (mean := self.label_mean()) is not None:
            row["label_mean"] = mean
        numbers = self.steering.plan.values_at(self.step)
        row |= {name: value for name in ("rate", "momentum") if isinstance(value := numbers.get(name), float)}
        self.history.append(row)
        self.keeper.look(self.network, self.step, row)
        self.loss_sum.zero_()
        self.counts = dict.fromkeys(self.counts, 0)
        self.wait, self.row_seconds = 0.0, self.seconds
        self.listen(Row(row))

    def label_mean(self) -> float | None:
        """Mean label of the last batch; None before the first, and where nothing is labelled."""
        if self.batch is not None:
            self.last_mean = mean_label(torch.as_tensor(self.batch.labels))
        return self.last_mean

    def _judge(self) -> None:
        """Say after the first steps whether the training looks healthy."""
        batches = [self.task.watch["train"].batch(i) for i in range(LOOKS)]
        losses = self.history[0]["train_loss"], self.measure("train")[0]
        labels = monitor_labels(self.update.labels(batches[0], self.criterion), self.criterion.of_classes)
        losses_of = [partial(self.loss_of, batch) for batch in batches]
        verdict = early_verdict(self.step, self.network, losses_of, labels, losses)
        if verdict.is_healthy:
            self.listen(Noted(str(verdict)))
        else:
            self.warn(str(verdict))

    def preview(self) -> None:
        """Tell everybody what the network predicts now: a section of the task's cube, or planes of its slabs."""
        if not self.task.slabs and self.task.preview is not None:
            self.listen(preview_of(self.network, self.task.preview, self.step, self.device))
        classes = classes_of(self.settings, self.network.document)
        for slab in self.task.slabs:
            self.listen(planes_of(self.network, slab, classes, self.step, self.device))

    def save(self, final: bool = False) -> None:
        """Write a backup. A full disk need not end a training of days: the settings say whether it does, before the end."""
        self._check(float(self.loss_sum))
        if not self.is_sound:
            # never over a good backup
            if final:
                raise self._diverged(f"training diverged before step {self.step}")
            return
        try:
            path = self.backups.save(state_of(self))
        except StorageError as error:
            if final or self.settings.on_full_disk == "stop":
                raise
            self.listen(Saved(self.step, self.backups.folder, str(error)))
        else:
            self.listen(Saved(self.step, path))

    def warn(self, text: str) -> None:
        """Say something to the user and keep it for the report."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.listen(Warned(text))
